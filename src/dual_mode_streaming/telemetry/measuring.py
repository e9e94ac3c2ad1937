"""Makes the metrics of the table out of what an observer is told; where they go is for the two that know a library.

Sums and gauges are kept here and read when somebody asks for them, so that open responses count as they stand. Only the
distributions (durations, distances) go to the library when they are known.

Rules:

- It is asked from any thread: exporters of OpenTelemetry have one of their own.
- A sum never goes down. What an open response or a channel has is in the sum before it is gone, under one lock.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from threading import Lock
from weakref import ref

from starlette.types import Scope

from dual_mode_streaming.channels import Channel
from dual_mode_streaming.channels.tally import Tally
from dual_mode_streaming.observers import Observed, ObservedRun, Observer, route_of

from .table import (
    BEHIND,
    BUFFERED,
    CONFLATED,
    DEEPEST,
    DELIVERED,
    DROPPED,
    DURATION,
    ENDED,
    EVICTED,
    FIRST_ITEM,
    HEARTBEATS,
    ITEMS,
    LEFT_BEHIND,
    MODEL_DURATION,
    MODEL_FIRST,
    MODEL_TOKEN,
    OPEN,
    OPENED,
    PUBLISHED,
    REFUSED,
    RESUMED,
    RUN_DURATION,
    RUN_ITEMS,
    RUNS_ENDED,
    RUNS_OPEN,
    SENT,
    SILENCE,
    STORE,
    SUBSCRIBERS,
    Kind,
    Metric,
)

__all__ = ["Labels", "Measuring", "Sums"]

Labels = tuple[str, ...]
Sums = Mapping[tuple[Metric, Labels], float]
"""Values by metric and the values of its attributes, in the order of the table."""

OTHER = "_OTHER"
"""What stands for an attribute that nobody has told, by the rules of OpenTelemetry."""
MOST_MODELS = 100
"""How many names of models are told apart."""


class Measuring(Observer):
    """An observer that counts."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sums: dict[tuple[Metric, Labels], float] = defaultdict(float)
        self._open: dict[Observed, Labels] = {}
        self._channels: list[tuple[str, ref[Channel], Tally]] = []
        self._former: dict[str, Tally] = {}
        self._last: Sums = {}
        self._models: set[Labels] = set()

    @abstractmethod
    def record(self, metric: Metric, value: float, labels: Labels) -> None:
        """Add a value to a distribution."""

    def watch(self, channel: Channel, name: str) -> None:
        """Measure a channel as well. It is not kept alive by that.

        Args:
            channel: The channel.
            name: What it is called. Channels of one name are added up, so that a channel for each room or user can have
                the name of its kind.
        """
        with self._lock:
            self._channels.append((name, ref(channel), channel.tally))

    # --- what is told ----------------------------------------------------------------------------

    def opened(self, response: Observed) -> None:
        """Count a response as open."""
        labels = (response.route, _mode(response))
        with self._lock:
            self._open[response] = labels
            self._sums[OPENED, labels] += 1
            if response.last_event_id is not None:
                self._sums[RESUMED, labels] += 1

    def first_item(self, response: Observed) -> None:
        """Record how long the first item took."""
        if response.first_after is not None and response in self._open:
            self.record(FIRST_ITEM, response.first_after, self._open[response])

    def ended(self, response: Observed) -> None:
        """Count a response as over, by its outcome."""
        assert response.outcome is not None  # noqa: S101  it is over
        assert response.duration is not None  # noqa: S101
        with self._lock:
            labels = self._open.pop(response)
            of_end = (*labels, response.outcome.value)
            self._sums[ENDED, of_end] += 1
            self._sums[LEFT_BEHIND, labels] += response.left_behind
            _add_response(self._sums, response, labels)
        self.record(DURATION, response.duration, of_end)
        if response.behind is not None:
            self.record(BEHIND, response.behind, labels)
        self._record_model(response)

    def refused(self, scope: Scope, error: Exception) -> None:
        """Count a request that was refused."""
        with self._lock:
            self._sums[REFUSED, (route_of(scope), getattr(error, "code", type(error).__name__))] += 1

    def run_began(self, run: ObservedRun) -> None:  # noqa: ARG002  which one, does not matter
        """Count a run as under way."""
        with self._lock:
            self._sums[RUNS_OPEN, ()] += 1

    def run_ended(self, run: ObservedRun) -> None:
        """Count a run as over, by its outcome."""
        assert run.outcome is not None  # noqa: S101  it is over
        assert run.duration is not None  # noqa: S101
        labels = (run.outcome.value,)
        with self._lock:
            self._sums[RUNS_OPEN, ()] -= 1
            self._sums[RUNS_ENDED, labels] += 1
            self._sums[RUN_ITEMS, ()] += run.items
        self.record(RUN_DURATION, run.duration, labels)

    def store_answered(self, store: str, verb: str, seconds: float, error: Exception | None) -> None:
        """Record how long a verb of a store took."""
        self.record(STORE, seconds, (store, verb, "" if error is None else type(error).__name__))

    def _record_model(self, response: Observed) -> None:
        """Record what the LLM layer has noted, by the names that semantic conventions have for it."""
        notes = response.notes
        if MODEL_DURATION.name in notes:
            names = MODEL_FIRST.labels
            labels = tuple(str(notes.get(name, OTHER)) for name in names)
            if labels not in self._models and len(self._models) >= MOST_MODELS:
                labels = (labels[0], OTHER)  # a proxy takes any name from a client
            self._models.add(labels)
            outcome = response.outcome
            failed = "" if outcome is None or outcome.value == "done" else outcome.value
            self.record(MODEL_DURATION, notes[MODEL_DURATION.name], (*labels, failed))
            for metric in (MODEL_FIRST, MODEL_TOKEN):
                if metric.name in notes:
                    self.record(metric, notes[metric.name], labels)

    # --- what is asked ---------------------------------------------------------------------------

    def sums(self) -> Sums:
        """Give all sums and gauges as they are now."""
        with self._lock:
            self._let_go_of_channels()
            sums = self._sums.copy()
            for response, labels in self._open.items():
                sums[OPEN, labels] += 1
                _add_response(sums, response, labels)
            for metric, labels in self._sums:
                if metric is OPENED:
                    sums[OPEN, labels] += 0  # a route that has no open response now is still a route
            sums.update(self._of_channels())
        return sums

    def _of_channels(self) -> Sums:
        """Give the sums of all channels that are watched."""
        sums: dict[tuple[Metric, Labels], float] = defaultdict(float)
        for name, tally in self._former.items():
            _add_tally(sums, tally, name)
        try:
            for name, channel, _ in self._channels:
                _add_channel(sums, channel(), name)
        except RuntimeError:
            return self._last  # another thread reads while somebody subscribes; what it read before will do
        for key, value in self._last.items():
            # A subscriber that leaves while another thread reads is in neither number for a moment.
            if key[0].kind is Kind.COUNTER:
                sums[key] = max(sums[key], value)
        self._last = sums
        return sums

    def _let_go_of_channels(self) -> None:
        """Keep the numbers of channels that are no more."""
        for watched in [one for one in self._channels if one[1]() is None]:
            self._channels.remove(watched)
            former = self._former.setdefault(watched[0], Tally())
            former.add(watched[2])
            former.published += watched[2].published


def _mode(response: Observed) -> str:
    return "stream" if response.streams else "batch"


def _add_response(sums: dict[tuple[Metric, Labels], float], response: Observed, labels: Labels) -> None:
    sums[ITEMS, labels] += response.items
    sums[SENT, labels] += response.bytes
    sums[HEARTBEATS, labels] += response.heartbeats
    sums[SILENCE, labels] += response.silence


def _add_channel(sums: dict[tuple[Metric, Labels], float], channel: Channel | None, name: str) -> None:
    if channel is None:
        return
    labels = (name,)
    tallies = [one.tally for one in channel.subscriptions]
    depths = [tally.waiting for tally in tallies]
    for tally in (channel.tally, *tallies):
        _add_tally(sums, tally, name)
    sums[SUBSCRIBERS, labels] += len(tallies)
    sums[BUFFERED, labels] += sum(depths)
    sums[DEEPEST, labels] = max([sums[DEEPEST, labels], *depths])


def _add_tally(sums: dict[tuple[Metric, Labels], float], tally: Tally, name: str) -> None:
    labels = (name,)
    sums[PUBLISHED, labels] += tally.published
    sums[DELIVERED, labels] += tally.delivered
    sums[DROPPED, labels] += tally.dropped
    sums[CONFLATED, labels] += tally.conflated
    sums[EVICTED, labels] += tally.evicted
