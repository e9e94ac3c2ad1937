# expect: TODO 5: with the ids that it would have had
"""Ids begin with 1 on each connection."""


async def numbered(events, last_event_id):
    seen = int(last_event_id) if last_event_id and last_event_id.isdecimal() else 0
    number = 0
    async for event in events:
        number += 1
        if number > seen:
            yield ServerSentEvent(event, id=str(number - seen))
