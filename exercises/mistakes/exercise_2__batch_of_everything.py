# expect: TODO 2: there is a fold that keeps the last one
"""Without a fold the batch is a list of all progress."""


def respond(source):
    return DualModeResponse(source)
