# expect: TODO 4: More is to come
"""A client that has everything so far is told that there is nothing more."""


def answer(history, last_event_id):
    number = 0 if last_event_id is None else place_of(last_event_id, history.epoch)
    try:
        if number is None:
            raise Gap
        if not history.after(number):
            return Response(status_code=204)
    except Gap:
        return JSONResponse({}, 410)
    return StreamingResponse(history.follow(number), media_type="text/event-stream")
