# expect: TODO 4: `[DONE]` says that the answer is complete
"""The mark of a complete answer is sent after a failure, too."""


async def wire(events):
    try:
        async for event in events:
            yield encode_event(event)
    except ModelError as error:
        yield failure(str(error), error.code)
    except Exception:
        yield failure("The model has failed.", "internal_error")
    yield encode_event(ServerSentEvent(raw="[DONE]"))
