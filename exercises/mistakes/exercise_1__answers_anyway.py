# expect: TODO 2: Who can read neither
"""Nothing is acceptable, and a document is sent all the same."""


def choose(accept):
    try:
        return negotiate(accept, [JSON, SSE])
    except errors.NotAcceptable:
        return JSON
