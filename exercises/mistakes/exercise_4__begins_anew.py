# expect: TODO 4: The id is of another log
"""A client with an id of another log gets this one from the beginning."""


def answer(history, last_event_id):
    number = 0 if last_event_id is None else place_of(last_event_id, history.epoch)
    if number is None:
        number = history.count - len(history.kept)
    try:
        history.after(number)
    except Gap:
        return JSONResponse({}, 410)
    if history.over and number == history.count:
        return Response(status_code=204)
    return StreamingResponse(history.follow(number), media_type="text/event-stream")
