"""The wire contract as far as every endpoint has it: how the mode is chosen, which headers an answer has, HEAD, 204."""

from __future__ import annotations

from dual_mode_streaming.modes import SSE

from .probing import Answer, Endpoint, Events
from .report import LawBroken

__all__ = ["check_choice", "check_head", "check_headers", "check_reconnect"]

BATCH = "batch"

# Accept, the flag, and what the answer has to be: a batch, a stream of server-sent events, or a status.
ROWS: tuple[tuple[str | None, str | None, str | int], ...] = (
    (None, None, BATCH),
    ("*/*", None, BATCH),
    ("application/*", None, BATCH),
    ("{batch}", None, BATCH),
    ("{batch}, text/event-stream", None, BATCH),
    ("text/event-stream;q=0.5, {batch}", None, BATCH),
    ("text/event-stream;q=0, */*", None, BATCH),
    ("text/event-stream", None, SSE),
    ("Text/Event-Stream", None, SSE),
    ("text/*", None, SSE),
    ("{batch};q=0.5, text/event-stream", None, SSE),
    ("image/png", None, 406),
    ("text/event-stream-2", None, 406),
    (None, "true", SSE),
    (None, "1", SSE),
    ("image/png", "true", SSE),
    ("{batch}", "true", SSE),
    (None, "false", BATCH),
    ("text/event-stream", "false", BATCH),
    ("text/event-stream", "0", BATCH),
    (None, "maybe", 422),
)


async def check_choice(endpoint: Endpoint) -> None:
    """Try every row of the table.

    Raises:
        LawBroken: One of them gets another answer.
    """
    for accept, flag, expected in ROWS:
        if (flag is not None and endpoint.stream_param is None) or (expected == SSE and SSE not in endpoint.formats):
            continue
        accept_value = None if accept is None else accept.replace("{batch}", endpoint.batch_type)
        answer = await endpoint.fetch(accept_value, flag=flag)
        if isinstance(expected, int):
            if answer.status != expected:
                raise LawBroken("wire contract", answer.asked, has_to_get=str(expected), got=answer.said)
            continue
        media_type = endpoint.batch_type if expected == BATCH else SSE
        if answer.status >= 400 or answer.media_type != media_type:
            raise LawBroken("wire contract", answer.asked, has_to_get=f"{media_type}", got=answer.said)
    endpoint.report.checked.append("wire contract: Accept and the query choose the mode")
    if endpoint.stream_param is None:
        endpoint.report.skipped["wire contract: the query"] = "stream_param=None"


def check_headers(answer: Answer, *, streams: bool) -> None:
    """Check the headers of a successful answer.

    Raises:
        LawBroken: One is missing, wrong, or sent twice.
    """
    headers = answer.headers
    names = [name.lower() for name, _ in headers.multi_items()]
    for name in ("content-type", "content-length", "cache-control", "x-accel-buffering"):
        if names.count(name) > 1:
            raise LawBroken("wire contract", f"{answer.asked}: the header {name} is sent twice")
    vary = {token.strip().lower() for token in headers.get("vary", "").split(",")}
    if not vary & {"accept", "*"}:
        raise LawBroken(
            "wire contract",
            f"{answer.asked}: Vary does not say that the answer depends on Accept, so a cache would mix up the modes",
            has_to_hold="Accept",
            got=headers.get("vary", "no Vary at all"),
        )
    if not streams:
        return
    if not {"no-cache", "no-store"} & {token.strip().lower() for token in headers.get("cache-control", "").split(",")}:
        got = headers.get("cache-control", "no Cache-Control at all")
        raise LawBroken(
            "wire contract", f"{answer.asked}: the stream may be cached", has_to_hold="Cache-Control: no-cache", got=got
        )
    if "x-accel-buffering" not in headers:
        raise LawBroken(
            "wire contract", f"{answer.asked}: a proxy may hold the stream back", has_to_hold="X-Accel-Buffering: no"
        )


async def check_head(endpoint: Endpoint, batch: Answer) -> None:
    """Check that HEAD gets the status and the headers of GET.

    Raises:
        LawBroken: It gets others.
    """
    what = "wire contract: HEAD"
    if endpoint.method != "GET":
        endpoint.report.skipped[what] = f"the method is {endpoint.method}"
        return
    answer = await endpoint.fetch(endpoint.batch_type, method="HEAD")
    if answer.status in (405, 501):
        endpoint.report.skipped[what] = f"the route does not take it ({answer.status})"
        return
    if (answer.status, answer.media_type) != (batch.status, batch.media_type):
        raise LawBroken("wire contract", f"{answer.asked} differs from GET", GET=batch.said, HEAD=answer.said)
    endpoint.report.checked.append(what)


async def check_reconnect(endpoint: Endpoint, stream: Answer) -> None:
    """Check that a client which reconnects after the end, as a browser's EventSource does, is told to stop.

    Raises:
        LawBroken: It gets the stream once more.
    """
    done = Events.of(stream).done
    last_id = None if done is None else done.id
    if not last_id:
        raise LawBroken(
            "wire contract", f"{stream.asked}: the done event has no id, so an EventSource would begin anew for ever"
        )
    answer = await endpoint.fetch(SSE, headers={"last-event-id": last_id})
    if answer.status != 204:
        raise LawBroken(
            "wire contract",
            f"{answer.asked} and Last-Event-ID: {last_id} comes from a client that has seen the end",
            has_to_get="204",
            got=answer.said,
        )
    endpoint.report.checked.append("wire contract: 204 for a client that has seen the end")
