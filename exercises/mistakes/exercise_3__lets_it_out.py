# expect: TODO 4: The exception leaves `wire`
"""Nothing is written when the model fails."""


async def wire(events):
    async for event in events:
        yield encode_event(event)
    yield encode_event(ServerSentEvent(raw="[DONE]"))
