"""docs/migration.md: what a client gets before and after, from both files of each pair."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import httpx2
import pytest

from dual_mode_streaming.sse import SSEDecoder
from dual_mode_streaming.testing import StreamingASGITransport, check_dual_mode

ROOT = Path(__file__).parents[1]
FILES = ROOT / "docs" / "migrations"
SSE = {"Accept": "text/event-stream"}
PAIRS = {
    # pair: (path of the stream and of the batch before; path of both afterwards)
    "sse_starlette": ("/jobs/a/events", "/jobs/a", "/jobs/a"),
    "fastapi_sse": ("/search/stream?q=tea", "/search?q=tea", "/search?q=tea"),
    "by_hand": ("/answer?question=why", "/answer?question=why", "/answer?question=why"),
}
ENDS = {"done", "end"}


def load(name):
    spec = importlib.util.spec_from_file_location(name, FILES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module.app


async def answers(app, stream, batch):
    transport = StreamingASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
        events = SSEDecoder().feed((await client.get(stream, headers=SSE)).content)
        document = (await client.get(batch)).json()
    return [(event.event, json.loads(event.data), event.id) for event in events], document


@pytest.mark.asyncio
@pytest.mark.parametrize("name", PAIRS)
async def test_clients_get_the_same_items_and_the_same_document(name):
    stream, batch, both = PAIRS[name]
    events, document = await answers(load(f"{name}_before"), stream, batch)
    events_now, document_now = await answers(load(f"{name}_after"), both, both)
    assert [event for event in events_now if event[0] not in ENDS] == [e for e in events if e[0] not in ENDS]
    assert document_now == document
    assert events_now[-1] == ("done", {"items": len(events_now) - 1}, "dms-done")


@pytest.mark.parametrize("name", PAIRS)
def test_the_mended_endpoint_keeps_the_laws(name):
    module_fold = {"sse_starlette": "last", "fastapi_sse": "to_list", "by_hand": None}[name]
    import dual_mode_streaming

    fold = getattr(dual_mode_streaming, module_fold) if module_fold else joined
    check_dual_mode(load(f"{name}_after"), "GET", PAIRS[name][2], fold=fold)


def joined(words):
    return {"answer": " ".join(word["text"] for word in words)}


def test_every_file_is_on_the_page():
    page = (ROOT / "docs" / "migration.md").read_text("utf-8")
    shown = re.findall(r"<!-- file: docs/migrations/(\w+)\.py -->", page)
    assert shown == [f"{name}_{state}" for name in PAIRS for state in ("before", "after")]
    assert {path.stem for path in FILES.glob("*.py")} == set(shown)
