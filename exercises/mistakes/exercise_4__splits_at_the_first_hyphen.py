# expect: TODO 1: An epoch may have hyphens in it
"""The epoch is a date, with hyphens."""


def place_of(event_id, epoch):
    own, _, number = event_id.partition("-")
    return int(number) if own == epoch and number.isdecimal() else None
