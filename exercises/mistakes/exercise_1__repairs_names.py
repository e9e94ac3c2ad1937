# expect: TODO 3: what is repaired in silence hides the attack
"""The name is made harmless, and nobody learns that somebody has tried."""


def frame(data, event=None):
    head = "" if event is None else "event: " + event.replace("\n", "").replace("\r", "") + "\n"
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return (head + "".join(f"data: {line}\n" for line in lines) + "\n").encode()
