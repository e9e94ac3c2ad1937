# expect: TODO 3: Whoever chooses the name can forge events
"""The name is written as it is."""


def frame(data, event=None):
    head = "" if event is None else f"event: {event}\n"
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return (head + "".join(f"data: {line}\n" for line in lines) + "\n").encode()
