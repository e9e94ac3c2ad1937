# expect: TODO 3: a CR ends a line as an LF does
"""A CR in the text ends the line for a client, and the rest of it is lost."""


def frame(data, event=None):
    if event is not None and ("\n" in event or "\r" in event):
        raise ValueError("a line break in the name")
    head = "" if event is None else f"event: {event}\n"
    return (head + "".join(f"data: {line}\n" for line in data.split("\n")) + "\n").encode()
