# expect: TODO 4: then `data: [DONE]` without quotes
"""The mark is written as JSON, in quotes."""


async def wire(events):
    try:
        async for event in events:
            yield encode_event(event)
    except ModelError as error:
        yield failure(str(error), error.code)
    else:
        yield encode_event(ServerSentEvent("[DONE]"))
