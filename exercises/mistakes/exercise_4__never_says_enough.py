# expect: TODO 4: 204 makes it stop
"""A browser comes back for ever."""


def answer(history, last_event_id):
    number = 0 if last_event_id is None else place_of(last_event_id, history.epoch)
    try:
        if number is None:
            raise Gap
        history.after(number)
    except Gap:
        return JSONResponse({}, 410)
    return StreamingResponse(history.follow(number), media_type="text/event-stream")
