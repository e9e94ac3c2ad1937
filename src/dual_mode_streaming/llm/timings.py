"""How fast a model answers, measured where its events arrive: what a slow client or a proxy adds is not in it.

The names are those of OpenTelemetry's conventions for generative AI, for whoever records them there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from .events import Usage
from .fold import Completion

__all__ = ["REQUEST_DURATION", "TIME_PER_OUTPUT_TOKEN", "TIME_TO_FIRST_TOKEN", "Meter", "Timings"]

TIME_TO_FIRST_TOKEN = "gen_ai.server.time_to_first_token"  # noqa: S105  the name of a measurement
"""The name under which OpenTelemetry's conventions record `Timings.time_to_first_token`."""
TIME_PER_OUTPUT_TOKEN = "gen_ai.server.time_per_output_token"  # noqa: S105
"""The name under which OpenTelemetry's conventions record `Timings.time_per_output_token`."""
REQUEST_DURATION = "gen_ai.server.request.duration"


@dataclass(frozen=True, slots=True)
class Timings:
    """How long the parts of one answer took, in seconds.

    Attributes:
        duration: From the request to the last event, or to the moment in which it was broken off.
        time_to_first_token: From the request to the first event that says something; None if there was none.
        time_per_output_token: Between two tokens, on average, after the first; None if there were fewer than two.
        output_tokens: How many tokens the model has reported, or else the number of its pieces.
    """

    duration: float
    time_to_first_token: float | None
    time_per_output_token: float | None
    output_tokens: int

    @property
    def by_name(self) -> dict[str, float]:
        """The figures that there are, by their names in OpenTelemetry."""
        figures = {
            REQUEST_DURATION: self.duration,
            TIME_TO_FIRST_TOKEN: self.time_to_first_token,
            TIME_PER_OUTPUT_TOKEN: self.time_per_output_token,
        }
        return {name: figure for name, figure in figures.items() if figure is not None}


class Meter:
    """Takes the times of one answer.

    Args:
        clock: Gives the time in seconds.
    """

    __slots__ = ("_clock", "_first", "_last", "began")

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self.began = clock()
        self._first: float | None = None
        self._last = self.began

    def elapsed(self) -> int:
        """Give the nanoseconds since the beginning."""
        return int((self._clock() - self.began) * 1e9)

    def note(self, event: Any) -> None:
        """Take note that an event has arrived."""
        if event.__class__ is not Usage:
            self._last = self._clock()
            if self._first is None:
                self._first = self._last

    def timings(self, completion: Completion) -> Timings:
        """Give the times of an answer that is over.

        Args:
            completion: What was said; its usage, which may be an estimate, has the number of tokens.
        """
        usage = completion.usage
        tokens = 0 if usage is None else usage.output_tokens or 0
        first = self._first
        per_token = None if first is None or tokens < 2 else (self._last - first) / (tokens - 1)
        return Timings(self._clock() - self.began, None if first is None else first - self.began, per_token, tokens)
