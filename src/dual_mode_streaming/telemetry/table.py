"""The table of all metrics: one for Prometheus and OpenTelemetry, so that one dashboard suits both.

Names and attributes are written as OpenTelemetry writes them, and follow its semantic conventions where there are any
(`http.*`, `gen_ai.*`, `error.type`). Prometheus has the same names by OpenTelemetry's own rules: dots become
underscores, the unit is appended, and `_total` for a counter.

Every attribute has few values: routes as they are written in the program, modes, outcomes, names that the author gave.
No id, address or path of a request is among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = [
    "ALL",
    "Kind",
    "Metric",
]


class Kind(Enum):
    """What kind of number a metric is."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric. There is one object of each.

    Attributes:
        name: As OpenTelemetry writes it.
        kind: What kind of number it is.
        help: What it counts, in one sentence.
        unit: Seconds (`s`), bytes (`By`), or what is counted, in braces.
        labels: The names of its attributes.
        buckets: The upper bounds of a histogram.
        adds_up: Whether values of several processes can be added up.
    """

    name: str
    kind: Kind
    help: str
    unit: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    adds_up: bool = True

    @property
    def prometheus(self) -> str:
        """Its name in Prometheus, without the `_total` of a counter, which its client library appends."""
        unit = {"s": "_seconds", "By": "_bytes"}.get(self.unit, "")
        return self.name.replace(".", "_") + unit


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LONG = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""A stream may be open for an hour."""
_SHORT = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)
_EVENTS = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 10_000.0)

# The buckets of the gen_ai metrics are those that the semantic conventions name.
_GEN_AI_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_GEN_AI_FIRST = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0),
)
_GEN_AI_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)

_OF_RESPONSE = ("http.route", "dual_mode.mode")
_ENDED = (*_OF_RESPONSE, "dual_mode.outcome")
_OF_CHANNEL = ("dual_mode.channel",)
_OF_MODEL = ("gen_ai.operation.name", "gen_ai.request.model", "error.type")
_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

OPEN = Metric("dual_mode.response.open", _G, "Responses that are open now.", "{response}", _OF_RESPONSE)
OPENED = Metric("dual_mode.response.opened", _C, "Responses that were admitted.", "{response}", _OF_RESPONSE)
ENDED = Metric("dual_mode.response.ended", _C, "Responses that are over.", "{response}", _ENDED)
LEFT_BEHIND = Metric(
    "dual_mode.response.left_behind", _C, "Sources that did not close in time.", "{source}", _OF_RESPONSE
)
REFUSED = Metric(
    "dual_mode.response.refused",
    _C,
    "Requests refused for a limit or a drain.",
    "{request}",
    ("http.route", "error.type"),
)
DURATION = Metric("dual_mode.response.duration", _H, "From admission to the end.", "s", _ENDED, _LONG)
FIRST_ITEM = Metric(
    "dual_mode.response.time_to_first_item",
    _H,
    "From admission to the source's first item.",
    "s",
    _OF_RESPONSE,
    _SECONDS,
)
ITEMS = Metric("dual_mode.response.items", _C, "Items given by sources, of open streams too.", "{item}", _OF_RESPONSE)
SENT = Metric("dual_mode.response.sent", _C, "Bytes of bodies, of open responses too.", "By", _OF_RESPONSE)
HEARTBEATS = Metric("dual_mode.response.heartbeats", _C, "Heartbeats sent.", "{heartbeat}", _OF_RESPONSE)
SILENCE = Metric(
    "dual_mode.response.silence", _C, "Time in which clients heard nothing but heartbeats.", "s", _OF_RESPONSE
)
RESUMED = Metric(
    "dual_mode.response.resumed", _C, "Streams asked for with a Last-Event-ID.", "{response}", _OF_RESPONSE
)
BEHIND = Metric(
    "dual_mode.response.resume_distance",
    _H,
    "Events a client that came back was behind.",
    "{event}",
    _OF_RESPONSE,
    _EVENTS,
)

RUNS_OPEN = Metric("dual_mode.run.open", _G, "Runs under way in this process.", "{run}")
RUNS_ENDED = Metric("dual_mode.run.ended", _C, "Runs of this process that are over.", "{run}", ("dual_mode.outcome",))
RUN_DURATION = Metric(
    "dual_mode.run.duration", _H, "From the start of a run to its end.", "s", ("dual_mode.outcome",), _LONG
)
RUN_ITEMS = Metric("dual_mode.run.items", _C, "Items of runs that are over.", "{item}")
STORE = Metric(
    "dual_mode.store.duration",
    _H,
    "How long a verb of a store takes.",
    "s",
    ("dual_mode.store", "dual_mode.verb", "error.type"),
    _SHORT,
)

SUBSCRIBERS = Metric("dual_mode.channel.subscribers", _G, "Subscribers of a channel now.", "{subscriber}", _OF_CHANNEL)
PUBLISHED = Metric("dual_mode.channel.published", _C, "Items published.", "{item}", _OF_CHANNEL)
DELIVERED = Metric("dual_mode.channel.delivered", _C, "Items handed to subscribers.", "{item}", _OF_CHANNEL)
DROPPED = Metric("dual_mode.channel.dropped", _C, "Items that slow subscribers did not get.", "{item}", _OF_CHANNEL)
CONFLATED = Metric(
    "dual_mode.channel.conflated", _C, "Items replaced by newer ones with the same key.", "{item}", _OF_CHANNEL
)
EVICTED = Metric(
    "dual_mode.channel.evicted", _C, "Subscribers ended because they were slow.", "{subscriber}", _OF_CHANNEL
)
BUFFERED = Metric("dual_mode.channel.buffered", _G, "Items that wait, summed over subscribers.", "{item}", _OF_CHANNEL)
DEEPEST = Metric(
    "dual_mode.channel.deepest", _G, "Items that wait for the slowest subscriber.", "{item}", _OF_CHANNEL, adds_up=False
)

MODEL_DURATION = Metric(
    "gen_ai.server.request.duration", _H, "How long a model took to answer.", "s", _OF_MODEL, _GEN_AI_SECONDS
)
MODEL_FIRST = Metric(
    "gen_ai.server.time_to_first_token", _H, "From the request to the first token.", "s", _OF_MODEL[:2], _GEN_AI_FIRST
)
MODEL_TOKEN = Metric(
    "gen_ai.server.time_per_output_token", _H, "Time per token after the first.", "s", _OF_MODEL[:2], _GEN_AI_TOKEN
)

ALL: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All metrics, in the order of this table."""
