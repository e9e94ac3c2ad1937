# expect: TODO 3: the blank line that ends the block
"""Without the blank line no client ever dispatches the event."""


def frame(data, event=None):
    head = "" if event is None else f"event: {event}\n"
    return (head + "".join(f"data: {line}\n" for line in data.split("\n"))).encode()
