"""The event and the outcome: two values without behaviour."""

import dataclasses

import pytest

from dual_mode_streaming import Outcome, ServerSentEvent


def test_only_data_is_positional():
    assert ServerSentEvent(1).data == 1
    with pytest.raises(TypeError, match="positional"):
        ServerSentEvent(1, "name")


def test_the_fields_and_what_they_are_by_default():
    event = ServerSentEvent()
    names = [field.name for field in dataclasses.fields(event)]
    assert names == ["data", "event", "id", "retry", "comment", "raw"]
    assert [getattr(event, name) for name in names] == [None] * 6


def test_an_event_is_a_value():
    fields = {"event": "tick", "id": "1", "retry": 5, "comment": "c", "raw": "text"}
    event = ServerSentEvent({"a": 1}, **fields)
    assert event == ServerSentEvent({"a": 1}, **fields)
    assert event != ServerSentEvent({"a": 1}, **{**fields, "id": "2"})
    assert {name: getattr(event, name) for name in fields} == fields
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.data = 2
    assert not hasattr(event, "__dict__"), "an event without slots costs more"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"comment": "c"}, False),
        ({"comment": ""}, False),
        ({"retry": 5}, False),
        ({"retry": 5, "comment": "c"}, False),
        ({"data": 0}, True),
        ({"data": ""}, True),
        ({"data": False}, True),
        ({"raw": ""}, True),
        ({"event": "tick"}, True),
        ({"event": ""}, True),
        ({"id": "1"}, True),
        ({"id": ""}, True),
        ({"retry": 5, "data": 1}, True),
        ({"comment": "c", "id": "1"}, True),
    ],
)
def test_what_counts_as_an_item(fields, expected):
    assert ServerSentEvent(**fields).is_item is expected


def test_the_outcomes_and_their_names():
    assert {outcome.name: outcome.value for outcome in Outcome} == {
        "DONE": "done",
        "ERROR": "error",
        "CLIENT_GONE": "client_gone",
        "SLOW_CLIENT": "slow_client",
        "DEADLINE": "deadline",
        "IDLE": "idle",
        "DRAINED": "drained",
        "CANCELLED": "cancelled",
    }
