# expect: TODO 5: ValueError
"""The header is whatever a client sends."""


async def numbered(events, last_event_id):
    seen = int(last_event_id or 0)
    number = 0
    async for event in events:
        number += 1
        if number > seen:
            yield ServerSentEvent(event, id=str(number))
