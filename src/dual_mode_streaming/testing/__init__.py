"""The testing kit: drive a streaming application in process, break things on purpose, and check the laws.

The names are loaded when they are first used. What they need comes with the extra `client` (httpx2); `live_server`
also needs uvicorn, which comes with `cli`. `docs/testing.md` shows each of them at work.

`laws` is `check_dual_mode`; `probing` sends its requests, and `choosing`, `agreement`, `failing` and `leaving` have
the laws, of which `report` tells. `storing` is `check_store`; `store_records` and `store_parties` have the promises,
`store_checks` what they are tried with, and `expecting` the words. `calls` drives one request as a server does, by the
`rules` of ASGI, with `uploads` and a `lifespan`; `transport` makes the transport of a client of it. `faults` has
sources that break, `witness` sees what was left open, `proxy` and its `links` are a bad network, `server` is a real
server, `reading` reads raw responses, and `tasks` runs things beside a test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dual_mode_streaming.lazy import names_on_first_use

if TYPE_CHECKING:
    from .calls import Call
    from .faults import Crash, ManualSource, WatchedSource, crash_after, hang_after
    from .laws import check_dual_mode
    from .lifespan import LifespanFailed
    from .proxy import TCPProxy
    from .reading import EventReader
    from .report import LawBroken, Probe, Report
    from .rules import ASGIViolation, ClientGone
    from .server import live_server
    from .storing import check_store
    from .transport import StreamingASGITransport

__all__ = [
    "ASGIViolation",
    "Call",
    "ClientGone",
    "Crash",
    "EventReader",
    "LawBroken",
    "LifespanFailed",
    "ManualSource",
    "Probe",
    "Report",
    "StreamingASGITransport",
    "TCPProxy",
    "WatchedSource",
    "check_dual_mode",
    "check_store",
    "crash_after",
    "hang_after",
    "live_server",
]

_HOMES = {
    "ASGIViolation": "rules",
    "Call": "calls",
    "ClientGone": "rules",
    "Crash": "faults",
    "EventReader": "reading",
    "LawBroken": "report",
    "LifespanFailed": "lifespan",
    "ManualSource": "faults",
    "Probe": "report",
    "Report": "report",
    "StreamingASGITransport": "transport",
    "TCPProxy": "proxy",
    "WatchedSource": "faults",
    "check_dual_mode": "laws",
    "check_store": "storing",
    "crash_after": "faults",
    "hang_after": "faults",
    "live_server": "server",
}

__getattr__, __dir__ = names_on_first_use(globals(), _HOMES)
