# expect: TODO 3: needs its own `data: `
"""The second line of the text becomes a field of its own."""


def frame(data, event=None):
    if event is not None and ("\n" in event or "\r" in event):
        raise ValueError("a line break in the name")
    head = "" if event is None else f"event: {event}\n"
    return f"{head}data: {data}\n\n".encode()
