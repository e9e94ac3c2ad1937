"""Laws 3 and 4 of requests that fail: early, before the first item, and late, behind it."""

from __future__ import annotations

from typing import Any

from dual_mode_streaming.modes import SSE

from .probing import Answer, Endpoint, Events
from .report import LawBroken, Probe, Probes, first_difference, shown

__all__ = ["check_early_error", "check_late_error", "probes"]


def probes(given: Probes) -> list[Probe]:
    """Accept one probe, a path in its place, or several of them."""
    if given is None:
        return []
    if isinstance(given, (Probe, str)):
        given = [given]
    return [Probe(path=one) if isinstance(one, str) else one for one in given]


async def check_early_error(endpoint: Endpoint, probe: Probe) -> None:
    """Check that a request which fails before the first item gets the same error in every mode (law 3).

    Raises:
        LawBroken: It does not.
    """
    batch = await _failing_batch(endpoint, probe, "early_error")
    for media_type in endpoint.formats:
        answer = await endpoint.fetch(media_type, probe=probe)
        if answer.status < 400:
            raise LawBroken(
                "law 3",
                f"{answer.asked} fails before its first item, but the stream hides the error under its status",
                batch=batch.said,
                stream=answer.said,
                body=shown(answer.body),
            )
        if answer.status != batch.status:
            raise LawBroken(
                "law 3", f"{answer.asked} has another status than the batch", batch=batch.said, stream=answer.said
            )
        if answer.media_type != batch.media_type:
            raise LawBroken(
                "law 3", f"{answer.asked} has an error of another type", batch=batch.said, stream=answer.said
            )
        difference = first_difference(batch.value(), answer.value())
        if difference is not None:
            path, one, other = difference
            raise LawBroken(
                "law 3",
                f"{answer.asked} has another body than the batch. The first difference is at {path}",
                batch=shown(one),
                stream=shown(other),
            )
    endpoint.report.checked.append(f"law 3: an early error is the same in every mode ({batch.asked}: {batch.status})")


async def check_late_error(endpoint: Endpoint, probe: Probe) -> None:
    """Check that a stream which fails behind its first item does not look complete (law 4).

    Raises:
        LawBroken: It does, or it tells another error than the batch.
    """
    batch = await _failing_batch(endpoint, probe, "late_error")
    for media_type in endpoint.formats:
        answer = await endpoint.fetch(media_type, probe=probe)
        if answer.status >= 400:
            raise LawBroken(
                "law 4",
                f"{answer.asked} has to fail behind its first item, but failed before it. Give it as early_error=",
                got=answer.said,
            )
        _check_late(answer, batch, Events.of(answer))
    endpoint.report.checked.append(f"law 4: a stream that fails late does not look complete ({batch.asked})")


def _check_late(answer: Answer, batch: Answer, read: Events) -> None:
    if read.done is not None:
        raise LawBroken("law 4", f"{answer.asked} failed, but says done", batch=batch.said, done=shown(read.done.data))
    if read.error is None:
        # A broken connection is told apart from a complete stream, but says nothing of the error.
        if answer.broken is None:
            raise LawBroken(
                "law 4",
                f"{answer.asked} failed, but looks complete: there is no error frame, and the connection is not cut",
                batch=batch.said,
                last_bytes=shown(answer.body[-120:]),
            )
        if answer.media_type == SSE:
            raise LawBroken("law 4", f"{answer.asked} failed without a last event named error", body=shown(answer.body))
    status: Any = read.error.get("status") if isinstance(read.error, dict) else None
    if status is not None and status != batch.status:
        raise LawBroken(
            "law 4",
            f"{answer.asked} tells another error than the batch",
            batch=batch.said,
            stream=shown(read.error),
        )


async def _failing_batch(endpoint: Endpoint, probe: Probe, name: str) -> Answer:
    batch = await endpoint.fetch(endpoint.batch_type, probe=probe)
    if batch.status < 400:
        law = "law 3" if name == "early_error" else "law 4"
        what = f"{batch.asked} was given as {name}=, so it has to fail, but its batch says that all is well"
        raise LawBroken(law, what, got=batch.said, body=shown(batch.body))
    return batch
