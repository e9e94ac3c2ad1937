"""TCP knows no events. A piece may hold half of one or three, and may end inside a letter."""

import json
from collections.abc import Iterable, Iterator


def items(pieces: Iterable[bytes]) -> Iterator[object]:
    for piece in pieces:
        yield json.loads(piece.decode().removeprefix("data: "))
