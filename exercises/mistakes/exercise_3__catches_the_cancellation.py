# expect: TODO 4: let the cancellation pass
"""A client that leaves is taken for a failure."""


async def wire(events):
    try:
        async for event in events:
            yield encode_event(event)
    except ModelError as error:
        yield failure(str(error), error.code)
    except BaseException:
        yield failure("The model has failed.", "internal_error")
    else:
        yield encode_event(ServerSentEvent(raw="[DONE]"))
