# expect: TODO 4: Call `after` before you make the response
"""The generator raises when the status is gone."""


def answer(history, last_event_id):
    number = 0 if last_event_id is None else place_of(last_event_id, history.epoch)
    if number is None:
        return JSONResponse({}, 410)
    if history.over and number == history.count:
        return Response(status_code=204)
    return StreamingResponse(history.follow(number), media_type="text/event-stream")
