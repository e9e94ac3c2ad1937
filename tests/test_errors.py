"""Every error: what it carries, how it is answered, and what of a stranger's error may leave the server."""

import ast
import inspect
from http import HTTPStatus

import pytest
from fastapi import HTTPException as FastAPIHTTPException
from starlette.exceptions import HTTPException

from dual_mode_streaming import errors
from dual_mode_streaming.errors import DualModeError, Problem, problem_from

# (error, status, code, base, further members of the document, attributes, part of the detail)
CASES = [
    (DualModeError("It broke."), 500, "internal_error", Exception, {}, {}, "It broke."),
    (
        errors.NotAcceptable(["application/json", "text/event-stream"], accept="image/png"),
        406,
        "not_acceptable",
        DualModeError,
        {"offers": ["application/json", "text/event-stream"]},
        {"offers": ("application/json", "text/event-stream")},
        "Accept: image/png allows none of the media types on offer: application/json, text/event-stream.",
    ),
    (
        errors.NotAcceptable(("a/b",)),
        406,
        "not_acceptable",
        DualModeError,
        {"offers": ["a/b"]},
        {"offers": ("a/b",)},
        "The request accepts none of the media types on offer: a/b.",
    ),
    (
        errors.HeaderTooLarge("accept", 16_384),
        431,
        "header_too_large",
        DualModeError,
        {"header": "accept", "limit": 16_384},
        {"name": "accept", "limit": 16_384},
        "The header accept is longer than 16384 bytes.",
    ),
    (
        errors.InvalidStreamFlag("stream", "maybe"),
        422,
        "invalid_stream_flag",
        DualModeError,
        {"parameter": "stream", "value": "maybe"},
        {"name": "stream", "value": "maybe"},
        "stream='maybe' is not a mode. Use stream=true for a stream or stream=false for a batch.",
    ),
    (
        errors.InvalidRequest("n: it must be at least 1, not 0", "n"),
        400,
        "invalid_request",
        DualModeError,
        {"parameter": "n"},
        {"parameter": "n"},
        "n: it must be at least 1",
    ),
    (
        errors.InvalidRequest("The body is not JSON."),
        400,
        "invalid_request",
        DualModeError,
        {},
        {"parameter": None},
        "The body is not JSON.",
    ),
    (
        errors.ModelError("Slow down.", status=429, code="slow", headers={"retry-after": "1"}, parameter="model"),
        429,
        "slow",
        DualModeError,
        {"parameter": "model"},
        {"parameter": "model", "headers": {"retry-after": "1"}},
        "Slow down.",
    ),
    (errors.ModelError("It broke."), 502, "model_error", DualModeError, {}, {"headers": {}}, "It broke."),
    (
        errors.ModelNotFound("big"),
        404,
        "model_not_found",
        DualModeError,
        {"parameter": "model"},
        {"model": "big"},
        "no model 'big' here. GET /v1/models",
    ),
    (errors.AnswerNotFound(), 404, "not_found", DualModeError, {}, {}, "no such answer"),
    (errors.AnswerTooLarge("9 bytes"), 502, "answer_too_large", DualModeError, {}, {}, "larger than 9 bytes"),
    (
        errors.InvalidKey(),
        401,
        "invalid_api_key",
        DualModeError,
        {},
        {"headers": {"www-authenticate": "Bearer"}},
        "Authorization: Bearer KEY",
    ),
    (
        errors.RequestTooLarge(10),
        413,
        "request_too_large",
        DualModeError,
        {"limit": 10},
        {"limit": 10},
        "larger than 10 bytes",
    ),
    (
        errors.BatchTooLarge("batch_max_items", 10),
        413,
        "batch_too_large",
        DualModeError,
        {"bound": "batch_max_items", "limit": 10},
        {"bound": "batch_max_items", "limit": 10},
        "Accept: text/event-stream",
    ),
    (
        errors.InvalidEvent("id", "holds a line break"),
        500,
        "invalid_event",
        ValueError,
        {"field": "id"},
        {"field": "id"},
        "The event's id holds a line break.",
    ),
    (
        errors.ItemNotEncodable("$.rows[3]", "object", "the type has no JSON form"),
        500,
        "item_not_encodable",
        TypeError,
        {"path": "$.rows[3]"},
        {"path": "$.rows[3]", "type_name": "object"},
        "$.rows[3] (object)",
    ),
    (
        errors.ItemTooLarge(4, 2000, 1000),
        500,
        "item_too_large",
        DualModeError,
        {"index": 4, "size": 2000, "limit": 1000},
        {"index": 4, "size": 2000, "limit": 1000},
        "max_item_bytes=1000",
    ),
    (errors.ItemInvalid(7), 500, "item_invalid", DualModeError, {"index": 7}, {"index": 7}, "Item 7"),
    (errors.DeadlineExceeded(2.5), 504, "deadline_exceeded", DualModeError, {}, {"seconds": 2.5}, "after 2.5 seconds"),
    (errors.SourceIdle(60.0), 504, "idle_timeout", DualModeError, {}, {"seconds": 60.0}, "for 60 seconds"),
    (errors.ChannelClosed(), 500, "channel_closed", DualModeError, {}, {}, "make a new one"),
    (
        errors.ChannelFailed(Problem(409, "taken", "No.", {"by": "Ada"})),
        409,
        "taken",
        DualModeError,
        {"by": "Ada"},
        {"problem": Problem(409, "taken", "No.", {"by": "Ada"})},
        "No.",
    ),
    (errors.WrongLoop("Not here."), 500, "wrong_loop", RuntimeError, {}, {}, "Not here."),
    (
        errors.SlowClient("max_items", 256),
        503,
        "slow_client",
        DualModeError,
        {"bound": "max_items", "limit": 256},
        {"bound": "max_items", "limit": 256},
        "further behind than max_items=256 allows",
    ),
    (
        errors.TooManyStreams(7, per_key=False, retry_after=3),
        503,
        "too_many_streams",
        DualModeError,
        {"limit": 7, "retry_after": 3},
        {"limit": 7, "per_key": False, "retry_after": 3, "headers": {"retry-after": "3"}},
        "The server has 7 open streams",
    ),
    (
        errors.TooManyStreams(2, per_key=True, retry_after=1),
        429,
        "too_many_streams",
        DualModeError,
        {"limit": 2, "retry_after": 1},
        {"limit": 2, "per_key": True, "retry_after": 1, "headers": {"retry-after": "1"}},
        "You have 2 open streams",
    ),
    (
        errors.Draining(4),
        503,
        "draining",
        DualModeError,
        {"retry_after": 4},
        {"retry_after": 4, "closes": False, "headers": {"retry-after": "4"}},
        "going down",
    ),
    (
        errors.Draining(4, closes=True),
        503,
        "draining",
        DualModeError,
        {"retry_after": 4},
        {"headers": {"retry-after": "4", "connection": "close"}},
        "in 4 s",
    ),
    (errors.StreamAborted("It was cut."), 500, "stream_aborted", DualModeError, {}, {}, "It was cut."),
    (
        errors.ProtocolError("Bad bytes."),
        500,
        "protocol_error",
        DualModeError,
        {},
        {"index": None, "value": None},
        "Bad bytes.",
    ),
    (
        errors.ProtocolError("Bad bytes.", index=0, value=12),
        500,
        "protocol_error",
        DualModeError,
        {"index": 0},
        {"index": 0, "value": 12},
        "Bad bytes.",
    ),
    (
        errors.EventTooLarge(100),
        500,
        "event_too_large",
        errors.ProtocolError,
        {"limit": 100},
        {"index": None, "limit": 100},
        "the bound of 100 bytes",
    ),
    (
        errors.EventTooLarge(100, index=3),
        500,
        "event_too_large",
        errors.ProtocolError,
        {"index": 3, "limit": 100},
        {"index": 3, "limit": 100},
        "the bound of 100 bytes",
    ),
    (
        errors.UnexpectedAnswer("It is HTML."),
        500,
        "unexpected_answer",
        errors.ProtocolError,
        {},
        {"index": None},
        "It is HTML.",
    ),
    (
        errors.RequestFailed("connect", "Nobody is there."),
        502,
        "request_failed",
        DualModeError,
        {"reason": "connect"},
        {"reason": "connect"},
        "Nobody is there.",
    ),
    (
        errors.StreamInterrupted("It broke.", last_event_id="7", count=3),
        502,
        "stream_interrupted",
        DualModeError,
        {"last_event_id": "7", "count": 3},
        {"last_event_id": "7", "count": 3},
        "It broke.",
    ),
    (errors.RunError("It broke."), 500, "run_error", DualModeError, {}, {}, "It broke."),
    (errors.RunNotFound(), 404, "run_not_found", errors.RunError, {}, {}, "There is no such run."),
    (errors.RunExpired(), 410, "run_expired", errors.RunError, {}, {}, "not kept any more"),
    (
        errors.HistoryTrimmed(5, 2),
        410,
        "history_trimmed",
        errors.RunError,
        {"first": 5, "asked": 2},
        {"first": 5, "asked": 2},
        "that is kept is 5; asked for was 2",
    ),
    (errors.EpochChanged(), 410, "epoch_changed", errors.RunError, {}, {}, "belongs to another run"),
    (errors.ProducerLost(), 502, "producer_lost", errors.RunError, {}, {}, "has died"),
    (
        errors.RunFailed(Problem(409, "taken", "No.", {"by": "Ada"})),
        409,
        "taken",
        errors.RunError,
        {"by": "Ada"},
        {},
        "No.",
    ),
    (errors.ServerShutdown(), 503, "server_shutdown", errors.RunError, {}, {}, "went down"),
    (errors.RunCancelled(), 410, "run_cancelled", errors.RunError, {}, {}, "was cancelled"),
    (errors.RunEnded(), 409, "run_ended", errors.RunError, {}, {}, "nothing can be added"),
    (
        errors.StoreError("It is full.", retry_after=9),
        503,
        "store_unavailable",
        DualModeError,
        {},
        {"retry_after": 9, "headers": {"retry-after": "9"}},
        "It is full.",
    ),
]


@pytest.mark.parametrize(
    ("error", "status", "code", "base", "members", "attributes", "detail"),
    [pytest.param(*case, id=f"{type(case[0]).__name__}-{number}") for number, case in enumerate(CASES)],
)
def test_what_an_error_carries_and_how_it_is_answered(error, status, code, base, members, attributes, detail):
    assert isinstance(error, base)
    assert isinstance(error, DualModeError)
    assert (error.status, error.code) == (status, code)
    assert detail in error.detail
    assert str(error) == error.detail, "the text of the error and its detail for clients differ"
    assert {name: getattr(error, name) for name in attributes} == attributes
    assert error.headers == attributes.get("headers", {})
    assert error.problem.as_dict() == {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": error.detail,
        **members,
    }


def test_an_error_of_another_server_is_passed_on_as_it_came():
    document = {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "code": "taken",
        "detail": "No.",
        "by": "Ada",
    }
    error = errors.RemoteError(409, document, {"x-trace": "7"}, retry_after=2.0)
    assert (error.status, error.code, error.document, error.headers) == (409, "taken", document, {"x-trace": "7"})
    assert error.retry_after == 2.0
    assert error.problem.as_dict() == document
    assert str(error) == "The server answered 409 (taken): No."
    bare = errors.RemoteError(500, {})
    assert (bare.code, str(bare), bare.headers) == ("remote_error", "The server answered 500 (remote_error)", {})
    assert bare.problem == Problem(500, "remote_error")


def test_every_error_class_has_a_case():
    # What another server sent has a test of its own.
    assert {cls.__name__ for cls in error_classes()} - {"RemoteError"} == {type(case[0]).__name__ for case in CASES}


def test_each_class_has_a_code_of_its_own():
    codes = [cls.code for cls in error_classes()]
    assert sorted(codes) == sorted(set(codes))


# --- the list at the head of the file ------------------------------------------------------------


def test_the_hierarchy_at_the_head_of_the_file_is_the_real_one():
    documented = hierarchy(ast.get_docstring(ast.parse(inspect.getsource(errors))))
    real = {cls.__name__: (base_among(cls), status_in_list(cls)) for cls in error_classes()}
    assert documented == real


def error_classes():
    return [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, DualModeError)]


def base_among(cls):
    return cls.__base__.__name__ if issubclass(cls.__base__, DualModeError) else None


def status_in_list(cls):
    """What the list says of the status: nothing where the error is never an answer of its own."""
    return (
        None
        if cls in (DualModeError, errors.RemoteError, errors.StreamAborted) or issubclass(cls, errors.ProtocolError)
        else cls.status
    )


def hierarchy(docstring):
    """Read the indented list: name -> (name of the base, status)."""
    lines = docstring[docstring.index("DualModeError") :].partition("\n\n")[0].splitlines()
    found, bases = {}, []
    for line in filter(str.strip, lines):
        depth = (len(line) - len(line.lstrip())) // 4
        name, *rest = line.split()
        bases[depth:] = [name]
        status = int(rest[0]) if rest and rest[0].isdigit() else None
        found[name] = (bases[depth - 1] if depth else None, status)
    return found


# --- the problem document ------------------------------------------------------------------------


def test_extensions_cannot_replace_the_standard_members():
    theirs = {"type": "x", "title": "x", "status": 200, "code": "x", "detail": "x", "more": 1}
    document = Problem(404, "gone_fishing", "Not here.", theirs).as_dict()
    assert document == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "code": "gone_fishing",
        "detail": "Not here.",
        "more": 1,
    }


def test_an_absent_detail_is_no_member():
    assert "detail" not in Problem(500, "internal_error").as_dict()


@pytest.mark.parametrize(("status", "title"), [(404, "Not Found"), (504, "Gateway Timeout"), (499, "Error")])
def test_the_title_is_the_phrase_of_the_status(status, title):
    assert Problem(status, "x").title == title


def test_the_media_type_of_a_problem():
    assert Problem.media_type == "application/problem+json"


def test_two_problems_do_not_share_their_extensions():
    assert Problem(500, "x").extensions is not Problem(500, "x").extensions


# --- errors of others ----------------------------------------------------------------------------


def test_our_own_error_is_told_as_it_is():
    error = errors.ItemTooLarge(1, 20, 10)
    assert problem_from(error) == error.problem


@pytest.mark.parametrize("cls", [HTTPException, FastAPIHTTPException])
def test_an_http_exception_keeps_its_status_and_detail(cls):
    assert problem_from(cls(404, "No such row.")).as_dict() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "code": "http_error",
        "detail": "No such row.",
    }


def test_a_detail_that_is_data_becomes_a_member():
    problem = problem_from(FastAPIHTTPException(409, {"rows": [1, 2]}))
    assert (problem.status, problem.detail, problem.as_dict()["data"]) == (409, None, {"rows": [1, 2]})


def test_an_error_with_a_status_but_without_a_detail():
    class Teapot(Exception):
        status_code = 418

    assert problem_from(Teapot("secret")) == Problem(418, "http_error")


@pytest.mark.parametrize("status", [200, 302, 399, 600, "404", None])
def test_a_status_that_is_no_error_is_none(status):
    class Odd(Exception):
        status_code = status
        detail = "secret"

    assert problem_from(Odd("secret")).as_dict() == Problem(500, "internal_error").as_dict()


@pytest.mark.parametrize(
    "error", [ValueError("secret"), KeyError("secret"), RuntimeError(), KeyboardInterrupt("secret")]
)
def test_of_any_other_error_nothing_is_told(error):
    document = problem_from(error).as_dict()
    assert document == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "code": "internal_error",
    }


def test_debug_tells_the_type_and_the_text():
    assert problem_from(ValueError("secret"), debug=True).detail == "ValueError: secret"


def test_debug_changes_nothing_for_an_error_that_tells_of_itself():
    error = HTTPException(404, "No such row.")
    assert problem_from(error, debug=True) == problem_from(error)
