# expect: TODO 1: ValueError
"""What is no number raises an exception, and that is a 500."""


def place_of(event_id, epoch):
    own, _, number = event_id.rpartition("-")
    return int(number) if own == epoch else None
