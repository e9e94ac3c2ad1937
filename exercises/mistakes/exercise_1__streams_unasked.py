# expect: TODO 2: nobody gets a stream unasked
"""The stream is offered first, so it wins every tie."""


def choose(accept):
    return JSON if accept is None else negotiate(accept, [SSE, JSON])
