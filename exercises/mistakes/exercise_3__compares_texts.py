# expect: TODO 5: Compared as texts, "10" is before "9"
"""Numbers are compared as texts."""


async def numbered(events, last_event_id):
    seen = last_event_id if last_event_id and last_event_id.isdecimal() else "0"
    number = 0
    async for event in events:
        number += 1
        if str(number) > seen:
            yield ServerSentEvent(event, id=str(number))
