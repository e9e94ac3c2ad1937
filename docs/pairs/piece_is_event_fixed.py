"""The decoder takes the bytes as they come, and gives the events that are complete."""

import json
from collections.abc import Iterable, Iterator

from dual_mode_streaming.sse import SSEDecoder


def items(pieces: Iterable[bytes]) -> Iterator[object]:
    decoder = SSEDecoder()
    for piece in pieces:
        for event in decoder.feed(piece):
            if event.event is None:
                yield json.loads(event.data)
