# expect: TODO 4: may say anything
"""The text of any exception is sent to the client."""


async def wire(events):
    try:
        async for event in events:
            yield encode_event(event)
    except Exception as error:
        yield failure(str(error), getattr(error, "code", "internal_error"))
    else:
        yield encode_event(ServerSentEvent(raw="[DONE]"))
