"""Events as JSON: what is read is what was written."""

import json

import pytest
from hypothesis import given

from dual_mode_streaming.errors import ProtocolError
from dual_mode_streaming.jsonbytes import decode_json, encode_json
from dual_mode_streaming.llm.events import Text, Usage
from dual_mode_streaming.llm.written import event_from_json, event_to_json
from llm.samples import ANSWERS, LAW, said


@LAW
@given(events=said())
def test_what_is_read_is_what_was_written(events):
    for event in events:
        read = event_from_json(decode_json(encode_json(event_to_json(event))))
        assert read == (Text(event) if isinstance(event, str) else event)


@pytest.mark.parametrize("events", ANSWERS.values(), ids=ANSWERS)
def test_usual_answers_are_read_as_they_were_written(events):
    written = json.dumps([event_to_json(event) for event in events])
    assert [event_from_json(event) for event in json.loads(written)] == [
        Text(event) if isinstance(event, str) else event for event in events
    ]


def test_what_is_usual_is_not_written():
    assert event_to_json("Hi") == {"kind": "text", "text": "Hi"}
    assert event_to_json(Usage(input_tokens=0)) == {"kind": "usage", "input_tokens": 0}


@pytest.mark.parametrize("document", [{}, {"kind": "image"}, {"kind": "text", "text": "a", "new": 1}, {"kind": "text"}])
def test_what_this_version_does_not_know_is_an_error(document):
    with pytest.raises(ProtocolError, match="knows no such event"):
        event_from_json(document)


def test_what_is_no_event_is_not_written():
    with pytest.raises(TypeError, match="no event of a model"):
        event_to_json(7)
