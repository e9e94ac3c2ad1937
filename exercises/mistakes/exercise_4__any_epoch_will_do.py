# expect: TODO 1: It is no id of the epoch
"""The number of another log is taken for one of this log."""


def place_of(event_id, epoch):
    _, _, number = event_id.rpartition("-")
    return int(number) if number.isdecimal() else None
