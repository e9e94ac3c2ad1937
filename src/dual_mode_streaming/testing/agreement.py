"""Laws 1, 2 and 4 of a request that succeeds: its streams fold to its batch, however cut, and say their end."""

from __future__ import annotations

import random
from typing import Any

from dual_mode_streaming.client.typed import converter_for
from dual_mode_streaming.errors import ProtocolError
from dual_mode_streaming.folds import Fold
from dual_mode_streaming.jsonbytes import decode_json, encode_json
from dual_mode_streaming.modes import SSE

from .choosing import check_headers
from .probing import Answer, Endpoint, Events
from .reading import StreamDecoder
from .report import LawBroken, first_difference, shown

__all__ = ["check_agreement"]


async def check_agreement(
    endpoint: Endpoint, fold: Fold[Any, Any], item_type: Any, formats: tuple[str, ...] | None
) -> tuple[Answer, dict[str, Answer]]:
    """Fetch the batch and every stream, and compare them. Gives the answers.

    Raises:
        LawBroken: They do not agree, or one of them is not what it says it is.
    """
    batch = await _fetch_batch(endpoint)
    endpoint.formats = await _offered(endpoint) if formats is None else formats
    streams: dict[str, Answer] = {}
    items_of_first: list[Any] = []
    for media_type in endpoint.formats:
        answer = await endpoint.fetch(media_type)
        if answer.status == 406 and formats is None:
            endpoint.report.skipped[f"law 1: {media_type}"] = "the endpoint does not offer it (406)"
            continue
        items = _items(answer, media_type, batch)
        if streams:
            _same_items(next(iter(streams)), items_of_first, media_type, items, endpoint)
        else:
            items_of_first = items
        _folds_to(batch, answer, items, fold, item_type)
        _decodes_alike(answer)
        streams[media_type] = answer
    endpoint.formats = tuple(streams)
    if not streams:
        raise LawBroken("law 1", f"{endpoint.name} offers no stream at all")
    names = ", ".join(streams)
    endpoint.report.checked += [
        f"law 1: the batch is the fold of the stream ({names})",
        f"law 2: every cut of the bytes gives the same items ({names})",
        f"law 4: a complete stream says so ({names})",
        "wire contract: headers",
    ]
    return batch, streams


async def _fetch_batch(endpoint: Endpoint) -> Answer:
    batch = await endpoint.fetch(None)
    if batch.status >= 300 or batch.broken:
        raise LawBroken(
            "law 1",
            f"{batch.asked} has to succeed for its modes to be compared",
            got=batch.said if batch.broken is None else f"a cut connection: {batch.broken}",
            body=shown(batch.value()),
        )
    if batch.media_type != "application/json" and not batch.media_type.endswith("+json"):
        raise LawBroken("wire contract", f"{batch.asked} has to get a batch", has_to_get="JSON", got=batch.said)
    endpoint.batch_type = batch.media_type
    try:
        value = decode_json(batch.body)
    except ValueError as error:
        raise LawBroken("law 1", f"the body of {batch.asked} is not JSON: {error}", body=shown(batch.body)) from None
    check_headers(batch, streams=False)
    again = await endpoint.fetch(None)
    difference = first_difference(value, again.value())
    if difference is not None:
        path, one, other = difference
        raise LawBroken(
            "law 1",
            f"{endpoint.name} does not give the same answer twice, so its modes cannot be compared. Fix what varies: "
            f"clocks, random numbers, state. The first difference is at {path}",
            first_time=shown(one),
            second_time=shown(other),
        )
    return batch


async def _offered(endpoint: Endpoint) -> tuple[str, ...]:
    """Ask the endpoint for its offers, with a header that allows none of them."""
    answer = await endpoint.fetch("application/x-nothing-of-this-kind")
    problem = answer.value()
    if answer.status == 406 and isinstance(problem, dict) and isinstance(problem.get("offers"), list):
        return tuple(offer for offer in problem["offers"] if offer in endpoint.formats)
    return endpoint.formats


def _items(answer: Answer, media_type: str, batch: Answer) -> list[Any]:
    """Check a stream by itself; give its items."""
    if answer.status != batch.status:
        raise LawBroken(
            "law 1", f"{answer.asked} has another status than the batch", batch=batch.said, stream=answer.said
        )
    if answer.media_type != media_type:
        raise LawBroken("wire contract", answer.asked, has_to_get=media_type, got=answer.said)
    check_headers(answer, streams=True)
    if answer.broken is not None:
        error = "" if answer.app_error is None else f" (the application raised {answer.app_error!r})"
        raise LawBroken("law 4", f"{answer.asked} was cut although the batch succeeds: {answer.broken}{error}")
    read = Events.of(answer)
    if read.undecodable is not None:
        raise LawBroken("law 2", f"{answer.asked} cannot be decoded", why=read.undecodable, body=shown(answer.body))
    if read.error is not None:
        raise LawBroken("law 1", f"{answer.asked} ended with an error, but the batch succeeds", error=shown(read.error))
    if media_type == SSE:
        _check_done(answer, read)
    if answer.body and not answer.body.endswith((b"\n\n", b"\r\r", b"\r\n\r\n") if media_type == SSE else b"\n"):
        raise LawBroken("law 4", f"{answer.asked} ends in the middle of an event", last_bytes=shown(answer.body[-40:]))
    return read.items


def _check_done(answer: Answer, read: Events) -> None:
    if read.done is None:
        raise LawBroken(
            "law 4",
            f"{answer.asked} has no last event named done, so a stream that was cut looks complete",
            last_bytes=shown(answer.body[-120:]),
        )
    decoder = StreamDecoder(SSE)
    last = decoder.feed(answer.body)[-1]
    if last.event != "done":
        raise LawBroken("law 4", f"{answer.asked}: done is not the last event", behind_it=shown(last.data))
    count = read.done.data.get("items") if isinstance(read.done.data, dict) else None
    if count != len(read.items):
        raise LawBroken(
            "law 4",
            f"{answer.asked}: the done event does not count the items",
            items=len(read.items),
            done_says=shown(read.done.data),
        )


def _same_items(one: str, items: list[Any], other: str, others: list[Any], endpoint: Endpoint) -> None:
    difference = first_difference(items, others)
    if difference is not None:
        path, first, second = difference
        raise LawBroken(
            "law 1",
            f"{endpoint.name} gives different items as {one} and as {other}. The first difference is at {path} "
            f"of the {len(items)} and {len(others)} items",
            **{one.replace("/", "_").replace("-", "_"): shown(first), other.replace("/", "_"): shown(second)},
        )


def _folds_to(batch: Answer, stream: Answer, items: list[Any], fold: Fold[Any, Any], item_type: Any) -> None:
    # The type is asked for what the wire carries, so each item goes back to its JSON text.
    converter = None if item_type is None else converter_for(item_type)
    try:
        state = fold.start()
        for item in items:
            state = fold.step(state, item if converter is None else converter(encode_json(item)))
        folded = decode_json(encode_json(fold.result(state)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        hint = "give the type of the items as item_type=" if item_type is None else f"as {item_type!r}"
        raise LawBroken(
            "law 1", f"the fold could not take the items of {stream.asked} ({hint}): {type(error).__name__}: {error}"
        ) from error
    difference = first_difference(batch.value(), folded)
    if difference is not None:
        path, in_batch, in_stream = difference
        at_the_top = path.count(".") + path.count("[") <= 1
        hint = " (fold= has to be the fold of the endpoint)" if at_the_top else ""
        raise LawBroken(
            "law 1",
            f"the items of {stream.asked} do not fold to the batch{hint}. The first difference is at {path}",
            batch=shown(in_batch),
            stream=shown(in_stream),
        )


def _decodes_alike(answer: Answer) -> None:
    """Cut the bytes of a stream anywhere and decode them again."""
    body = answer.body
    rng = random.Random(0)  # noqa: S311  where to cut is no secret
    whole = _decoded(answer, [body])
    cuttings = [sorted(rng.sample(range(len(body) + 1), min(len(body), 50))) for _ in range(20)]
    if len(body) <= 20_000:
        cuttings.append(list(range(1, len(body))))
    for cuts in cuttings:
        parts = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        if _decoded(answer, parts) != whole:
            raise LawBroken("law 2", f"{answer.asked} decodes to other items when its bytes are cut at {cuts[:20]}")


def _decoded(answer: Answer, parts: list[bytes]) -> list[Any]:
    decoder = StreamDecoder(answer.media_type)
    events: list[Any] = []
    try:
        for part in parts:
            events += decoder.feed(part)
        events += decoder.flush()
    except ProtocolError as error:
        events.append(error.detail)
    return events
