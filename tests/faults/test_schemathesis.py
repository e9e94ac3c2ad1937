"""The demo application against its own OpenAPI document: requests made from it, also wrong ones, and answers checked.

schemathesis makes the requests and knows what to look at: no answer is a server's error, each has a status and a media
type that the document names, its body fits its schema, each event of a stream the schema of the items, what is invalid
is refused, a method that is not there is answered with 405.

Two of its checks need a word:

- That a request which fits the schema is accepted is not checked. A query of punctuation, an empty file and a
  conversation without a question fit, and are refused with a text that says what to do.
- The bodies of the language models' endpoints are the vendors', so the document only says that they are objects. Half
  of them are therefore put into a request that is complete.
"""

from collections import Counter

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from dual_mode_streaming.llm import Simulator
from dual_mode_streaming.playground.app import create_app
from dual_mode_streaming.testing import live_server

EXAMPLES = 12
"""Requests for each operation and mode."""

MESSAGES = [{"role": "user", "content": "Hello"}]
COMPLETE = {
    "/v1/chat/completions": {"model": "simulator", "messages": MESSAGES, "max_tokens": 4},
    "/v1/responses": {"model": "simulator", "input": "Hello", "max_output_tokens": 4},
    "/v1/messages": {"model": "simulator", "messages": MESSAGES, "max_tokens": 4},
    "/api/chat": {"model": "simulator", "messages": MESSAGES, "options": {"num_predict": 4}},
    "/api/generate": {"model": "simulator", "prompt": "Hello", "options": {"num_predict": 4}},
    "/api/chat/ui": {"messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}]},
}


@pytest.fixture(scope="module")
def schema():
    app = create_app(Simulator())
    app.openapi_version = "3.2.0"  # older versions have no word for the items of a stream
    with live_server(app) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


def made_short(case):
    """Bound what an answer takes, where it is bounded by what one asks for, or by a default. What is invalid stays."""
    for path, name, default, most, short in (("/metrics", "seconds", 10, 3600, 0.01), ("/reports", "pace", 0.15, 2, 0)):
        value = (case.query or {}).get(name, default)
        if case.path == path and isinstance(value, (int, float)) and 0 <= value <= most:
            case.query = {**(case.query or {}), name: short}


def completed(case, number):
    """Put every second body of a language model's endpoint into a request that is complete, streamed or not."""
    if case.path in COMPLETE and isinstance(case.body, dict) and number % 2:
        case.body = {**case.body, **COMPLETE[case.path], "stream": number % 4 == 1}


def ask(operation, mode):
    """Make requests for one operation; give how many answers of each status there were."""
    statuses = Counter()

    @hypothesis.seed(8)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case):
        made_short(case)
        if mode is GenerationMode.POSITIVE:
            completed(case, statuses.total())
        answer = case.call(timeout=20)
        statuses[answer.status_code] += 1
        case.validate_response(answer, excluded_checks=[schemathesis.checks.positive_data_acceptance])

    one()
    return statuses


def test_every_answer_to_valid_requests_is_as_the_document_says(schema):
    operations = [found.ok() for found in schema.get_all_operations()]
    statuses = {operation.label: ask(operation, GenerationMode.POSITIVE) for operation in operations}
    assert len(statuses) >= 15
    for path in COMPLETE:
        assert statuses[f"POST {path}"][200] >= EXAMPLES // 3, (path, statuses)


def test_every_answer_to_invalid_requests_is_as_the_document_says(schema):
    operations = [found.ok() for found in schema.get_all_operations()]
    refusable = [one for one in operations if one.query or one.body]  # in a path any text is valid
    statuses = {operation.label: ask(operation, GenerationMode.NEGATIVE) for operation in refusable}
    assert len(statuses) >= 9
    for label, counts in statuses.items():
        assert sum(count for status, count in counts.items() if 400 <= status < 500) >= EXAMPLES // 2, (label, counts)
