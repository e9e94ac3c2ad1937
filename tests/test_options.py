"""Options: every one is checked where the author writes it."""

import inspect
import math
from typing import Annotated

import pytest

from dual_mode_streaming import DualModeResponse, ResponseMode, Streams, collect, last
from dual_mode_streaming.errors import ItemInvalid
from dual_mode_streaming.options import GivenOptions, Options

NOT_NEGATIVE = ["commit_after", "close_timeout", "linger"]
ABOVE_ZERO = ["heartbeat", "deadline", "idle_timeout", "send_timeout", "max_item_bytes", "batch_max_items"]


def test_the_defaults():
    defaults = {name: getattr(Options(), name) for name in parameters(Options)}
    assert defaults == {
        "fold": collect,
        "mode": None,
        "stream_param": "stream",
        "heartbeat": 15.0,
        "commit_after": 10.0,
        "on_disconnect": "cancel",
        "deadline": None,
        "idle_timeout": None,
        "send_timeout": 30.0,
        "close_timeout": 5.0,
        "linger": 0.0,
        "max_item_bytes": 1_048_576,
        "batch_max_items": 100_000,
        "batch_keepalive": False,
        "heartbeat_lines": False,
        "retry": (1000, 2000),
        "validate_items": False,
        "on_finish": None,
        "streams": None,
        "debug": False,
    }


def test_the_response_has_the_same_options_with_the_same_defaults():
    theirs = parameters(DualModeResponse)
    beside = ["content", "status_code", "headers", "media_type", "background"]
    assert list(theirs) == [*beside, *parameters(Options)]
    assert {name: theirs[name].default for name in parameters(Options)} == {
        name: parameter.default for name, parameter in parameters(Options).items()
    }


def test_type_checkers_know_the_same_options():
    assert list(GivenOptions.__annotations__) == list(parameters(Options))


OTHERS = {
    "fold": last,
    "mode": ResponseMode.STREAM,
    "stream_param": "live",
    "heartbeat": 1.0,
    "commit_after": 1.0,
    "on_disconnect": "finish",
    "deadline": 1.0,
    "idle_timeout": 1.0,
    "send_timeout": 1.0,
    "close_timeout": 1.0,
    "linger": 0.001,
    "max_item_bytes": 1,
    "batch_max_items": 1,
    "batch_keepalive": True,
    "heartbeat_lines": True,
    "retry": (1, 2),
    "validate_items": int,
    "on_finish": print,
    "streams": Streams(),
    "debug": True,
}


@pytest.mark.parametrize("name", OTHERS)
def test_each_option_reaches_its_response(name):
    options = DualModeResponse([], **{name: OTHERS[name]}).options
    assert {other: getattr(options, other) for other in parameters(Options)} == {
        **{other: getattr(Options(), other) for other in parameters(Options)},
        name: OTHERS[name],
    }


def test_every_option_is_tried():
    assert list(OTHERS) == list(parameters(Options))


def parameters(of):
    return inspect.signature(of).parameters


@pytest.mark.parametrize("name", NOT_NEGATIVE)
def test_a_time_that_may_be_zero(name):
    assert getattr(Options(**{name: 0}), name) == 0
    assert getattr(Options(**{name: 0.5}), name) == 0.5
    for wrong in (-1, -0.001, math.nan):
        with pytest.raises(ValueError, match=f"^{name}={wrong!r} must not be negative$"):
            Options(**{name: wrong})


@pytest.mark.parametrize("name", ABOVE_ZERO)
def test_a_bound_that_is_above_zero_or_switched_off(name):
    assert getattr(Options(**{name: None}), name) is None
    assert getattr(Options(**{name: 1}), name) == 1
    for wrong in (0, -1, math.nan):
        with pytest.raises(ValueError, match=f"^{name}={wrong!r} must be above zero; None switches it off$"):
            Options(**{name: wrong})


def test_every_number_is_among_the_bounds_above():
    numbers = [name for name, p in parameters(Options).items() if "float" in p.annotation or "int |" in p.annotation]
    assert sorted(numbers) == sorted(NOT_NEGATIVE + ABOVE_ZERO)


@pytest.mark.parametrize("name", ["commit_after", "heartbeat", "deadline", "close_timeout"])
def test_a_time_may_be_endless(name):
    assert getattr(Options(**{name: math.inf}), name) == math.inf


@pytest.mark.parametrize("retry", [None, (0, 0), (5, 5), (1000, 2000)])
def test_a_range_of_retry_times(retry):
    assert Options(retry=retry).retry == retry


@pytest.mark.parametrize("retry", [(-1, 5), (2, 1), (-2, -1)])
def test_what_is_no_range_of_retry_times(retry):
    with pytest.raises(ValueError, match="must be a range of milliseconds"):
        Options(retry=retry)


@pytest.mark.parametrize("retry", [1000, (1000,), (1, 2, 3)])
def test_what_is_no_range_at_all(retry):
    with pytest.raises((TypeError, ValueError)):
        Options(retry=retry)


def test_retry_times_are_whole_milliseconds():
    with pytest.raises((TypeError, ValueError)):
        Options(retry=(0.5, 1.5))


@pytest.mark.parametrize("mode", ["batch", "stream", ResponseMode.BATCH, ResponseMode.STREAM, None])
def test_a_mode(mode):
    made = Options(mode=mode).mode
    assert made == mode
    assert made is None or isinstance(made, ResponseMode)


@pytest.mark.parametrize("mode", ["sse", "", "BATCH", True])
def test_what_is_no_mode(mode):
    with pytest.raises(ValueError, match="is not a valid ResponseMode"):
        Options(mode=mode)


@pytest.mark.parametrize("policy", ["cancel", "finish"])
def test_a_policy_for_clients_that_leave(policy):
    assert Options(on_disconnect=policy).on_disconnect == policy


@pytest.mark.parametrize("policy", ["ignore", None, ""])
def test_what_is_no_policy(policy):
    with pytest.raises(ValueError, match="is not a policy; use 'cancel' or 'finish'"):
        Options(on_disconnect=policy)


def test_a_function_is_made_a_fold():
    assert Options(fold=last).fold is last
    assert Options(fold=len).fold.result([1, 2]) == 2


def test_what_is_no_fold():
    with pytest.raises(TypeError, match="neither a Fold nor a function"):
        Options(fold=5)


def test_an_option_that_does_not_exist():
    with pytest.raises(TypeError, match="hearbeat"):
        Options(hearbeat=5)


def test_options_are_named():
    with pytest.raises(TypeError, match="positional"):
        Options(collect)


# --- checked items -------------------------------------------------------------------------------


def test_items_are_not_checked_by_default():
    assert Options().item_check is None


def test_items_are_checked_against_a_type():
    check = Options(validate_items=dict[str, int]).item_check
    check(0, {"a": 1})
    with pytest.raises(ItemInvalid) as caught:
        check(3, {"a": "secret"})
    assert caught.value.index == 3
    assert "secret" not in caught.value.detail
    assert "secret" in str(caught.value.__cause__), "the log is to say what was wrong with the item"


def test_a_type_that_cannot_be_hashed_checks_as_well():
    check = Options(validate_items=Annotated[int, {"unit": "metre"}]).item_check
    with pytest.raises(ItemInvalid):
        check(0, "secret")


def test_a_type_that_is_none_cannot_check():
    with pytest.raises(ValueError, match="validate_items=Row"):
        Options(validate_items=True)


def test_one_check_is_made_for_one_type():
    assert Options(validate_items=list[int]).item_check is Options(validate_items=list[int]).item_check


def test_a_response_refuses_wrong_options_in_its_own_line():
    with pytest.raises(ValueError, match="heartbeat"):
        DualModeResponse([], heartbeat=0)
