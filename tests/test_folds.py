"""Folds: each one, against the plain function that it stands for."""

import dataclasses
import functools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dual_mode_streaming import Fold, collect, concat, last, to_list
from dual_mode_streaming.folds import as_fold, by_function

LAW = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@dataclasses.dataclass
class Answer:
    texts: list[Any]


class Count(Fold[Any, int]):
    """A fold whose state does not grow."""

    keeps_items = False

    def start(self) -> int:
        return 0

    def step(self, state: int, item: Any) -> int:
        return state + 1

    def result(self, state: int) -> int:
        return state


def fold_all(fold, items):
    state = fold.start()
    for item in items:
        state = fold.step(state, item)
    return fold.result(state)


def answer(items: Sequence[Any]) -> Answer:
    return Answer(list(items))


# Each row: the fold, the function it stands for, whether its state grows.
FOLDS = {
    "collect": (collect, lambda items: {"data": items}, True),
    "to_list": (to_list, lambda items: items, True),
    "last": (last, lambda items: items[-1] if items else None, False),
    "concat": (concat(), lambda items: "".join("" if item is None else str(item) for item in items), True),
    "concat with a separator": (concat(separator=", "), lambda items: ", ".join(map(plain_text, items)), True),
    "concat of a field": (concat("a"), lambda items: "".join(map(field_text, items)), True),
    "function": (by_function(answer), answer, True),
    "function as it is": (as_fold(len), len, True),
    "of a user": (Count(), len, False),
}


def plain_text(item):
    return "" if item is None else str(item)


def field_text(item):
    if isinstance(item, str):
        return item
    return plain_text(item.get("a")) if isinstance(item, dict) else ""


ITEMS = st.lists(
    st.none()
    | st.integers()
    | st.text()
    | st.lists(st.integers())
    | st.dictionaries(st.sampled_from("abc"), st.none() | st.text() | st.integers()),
    max_size=8,
)


@pytest.mark.parametrize("name", FOLDS)
@LAW
@given(items=ITEMS)
def test_folding_step_by_step_is_the_function_of_the_list(name, items):
    fold, function, _ = FOLDS[name]
    assert fold_all(fold, items) == function(items)


@pytest.mark.parametrize("name", FOLDS)
@LAW
@given(items=ITEMS)
def test_a_snapshot_is_the_fold_of_the_items_so_far_and_changes_nothing(name, items):
    fold, function, _ = FOLDS[name]
    state, snapshots = fold.start(), []
    for item in items:
        snapshots.append(fold.snapshot(state))
        state = fold.step(state, item)
    assert fold.result(state) == function(items)
    assert snapshots == [function(items[:count]) for count in range(len(items))], "a later step has changed a snapshot"


@pytest.mark.parametrize("name", FOLDS)
def test_one_fold_serves_many_responses(name):
    fold, function, _ = FOLDS[name]
    assert fold_all(fold, ["a"]) == function(["a"])
    assert fold_all(fold, ["b"]) == function(["b"]), "the state of one response is in another"


@pytest.mark.parametrize("name", FOLDS)
def test_whether_the_bounds_of_a_batch_apply(name):
    fold, _, keeps_items = FOLDS[name]
    assert fold.keeps_items is keeps_items


def test_what_a_snapshot_gives_is_not_the_state():
    for fold in (collect, to_list, by_function(lambda items: items)):
        state = fold.step(fold.start(), 1)
        snapshot = fold.snapshot(state)
        (snapshot["data"] if fold is collect else snapshot).append(2)
        assert fold.result(state) in ({"data": [1]}, [1]), f"changing a snapshot of {fold} changes its state"


# --- concat --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"text": "a", "b": 1}, "a"),
        ({"b": 1}, ""),
        ({"text": None}, ""),
        ({"text": 5}, "5"),
        ("plain", "plain"),
        (SimpleNamespace(text="a"), "a"),
        (SimpleNamespace(), ""),
        (None, ""),
    ],
)
def test_where_concat_finds_the_text_of_an_item(item, text):
    assert fold_all(concat("text", separator="|"), [item, item]) == f"{text}|{text}"


def test_concat_without_a_field_writes_any_item_as_text():
    assert fold_all(concat(), ["a", 1, None, 2.5, True]) == "a12.5True"


# --- a function in place of a fold ---------------------------------------------------------------


def test_a_fold_is_taken_as_it_is():
    fold = Count()
    assert as_fold(fold) is fold


@pytest.mark.parametrize(
    ("given_fold", "message"),
    [
        (Count, r"fold=Count is a class; give an instance of it: fold=Count\(\)"),
        (None, "fold=None is neither a Fold nor a function"),
        ("collect", "fold='collect' is neither a Fold nor a function"),
        ([], r"fold=\[\] is neither a Fold nor a function"),
    ],
)
def test_what_is_no_fold_is_refused(given_fold, message):
    with pytest.raises(TypeError, match=message):
        as_fold(given_fold)


def test_a_class_is_a_function_of_its_items():
    assert fold_all(as_fold(Answer), [1, 2]) == Answer([1, 2])


def test_a_fold_without_its_methods_is_refused():
    class Half(Fold):
        def start(self):
            return 0

    with pytest.raises(TypeError, match="abstract"):
        Half()


# --- the type of the result ----------------------------------------------------------------------


def typed(items: Sequence[int]) -> list[str]:
    return [str(item) for item in items]


def by_name(items: "Sequence[int]") -> "Answer":
    return Answer(list(items))


def by_wrong_name(items: "Nowhere") -> "Nowhere":  # noqa: F821  that is the point
    return items


def to_nothing(items: list) -> None:
    return None


T = TypeVar("T")


def first(items: Sequence[T]) -> T:
    return items[0]


class Untyped(Fold):
    start = step = result = lambda *_: None


@pytest.mark.parametrize(
    ("fold", "item_type", "expected"),
    [
        (to_list, int, list[int]),
        (to_list, None, list),
        (last, int, int),
        (last, None, None),
        (concat("a"), int, str),
        (by_function(typed), int, list[str]),
        (by_function(by_name), int, Answer),
        (by_function(Answer), int, Answer),
        (by_function(by_wrong_name), int, None),
        (by_function(to_nothing), int, None),
        (by_function(first), int, None),
        (by_function(lambda items: items), int, None),
        (by_function(len), int, None),
        (by_function(functools.partial(typed)), int, None),
        (Count(), str, int),
        (Untyped(), str, None),
    ],
)
def test_result_type(fold, item_type, expected):
    assert fold.result_type(item_type) == expected


@pytest.mark.parametrize(
    ("item_type", "name", "member"),
    [
        (Answer, "AnswerBatch", list[Answer]),
        (int, "IntBatch", list[int]),
        (int | str, "ItemBatch", list[int | str]),
        (None, "ItemBatch", list),
    ],
)
def test_the_result_type_of_collect_is_a_class_of_its_own(item_type, name, member):
    result_type = collect.result_type(item_type)
    (field,) = dataclasses.fields(result_type)
    assert (result_type.__name__, field.name, field.type) == (name, "data", member)
