"""How a client reads a stream, and when it connects again."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Reconnect", "StreamOptions"]


@dataclass(frozen=True, slots=True)
class Reconnect:
    """How often and when a stream is connected again.

    The n-th wait in a row is `delay * 2**(n - 1)` seconds, at most `max_delay`, and a random part of it more, at most
    `jitter`. A server's `retry:` takes the place of `delay`.

    Attributes:
        attempts: After so many failures in a row the stream gives up. 1 never connects again.
        delay: The first wait, in seconds.
        max_delay: The longest wait, in seconds.
        jitter: The largest random part, from 0 to 1, so that clients do not come back all at once.

    Raises:
        ValueError: A number is out of its range.
    """

    attempts: int = 5
    delay: float = 0.5
    max_delay: float = 60.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if self.attempts < 1 or not (self.delay >= 0 and self.max_delay >= 0 and 0 <= self.jitter <= 1):
            raise ValueError(f"{self}: attempts begin at 1, times at 0, and jitter is from 0 to 1")

    def wait(self, failures: int, retry: int | None, chance: float) -> float:
        """Give the seconds to wait.

        Args:
            failures: How many failures there were in a row, from 1 on.
            retry: The server's `retry:` in milliseconds; None if it sent none.
            chance: A random number from 0 to 1.
        """
        # Python has no float of 2**1024, and no integer of so many digits becomes one.
        first = self.delay if retry is None else min(retry, 10**12) / 1000
        return min(first * 2.0 ** min(failures - 1, 64), self.max_delay) * (1 + self.jitter * chance)


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a stream is read.

    Attributes:
        reconnect: When it is connected again.
        require_done: Whether server-sent events that end cleanly without a terminal event count as cut.
        max_event_size: The largest event, line or record in bytes; None for no bound.
        media_type: The media type that is asked for first; None for server-sent events.
        decode: Whether the data of an event is decoded JSON; else it is the text.
    """

    reconnect: Reconnect = Reconnect()
    require_done: bool = True
    max_event_size: int | None = 1_048_576
    media_type: str | None = None
    decode: bool = True
