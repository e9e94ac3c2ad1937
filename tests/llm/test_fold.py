"""The fold: each of its rules, and what it costs."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dual_mode_streaming.llm.events import (
    Finish,
    Logprobs,
    Reasoning,
    Refusal,
    Text,
    ToolArguments,
    ToolCall,
    Usage,
)
from dual_mode_streaming.llm.fold import Assembly, Choice, Completion, CompletionFold, fold_all
from llm.samples import ANSWERS, LAW, said


def parts(*events):
    return fold_all(events).first.parts


# --- texts -----------------------------------------------------------------------------------------


def test_texts_of_one_kind_are_one_part():
    assert parts(Text("a"), Text("b"), Reasoning("c"), Text("d"), Refusal("e"), Refusal("f")) == (
        Text("ab"),
        Reasoning("c"),
        Text("d"),
        Refusal("ef"),
    )


def test_an_empty_text_says_nothing():
    assert parts(Text(""), Text("a"), Reasoning(""), Text("b")) == (Text("ab"),)


def test_a_string_is_a_text():
    assert fold_all(["a", Text("b"), "c"]) == fold_all([Text("abc")])


def test_the_texts_of_a_choice():
    choice = fold_all([Reasoning("r"), Text("a"), ToolCall(0, "x", "f"), Text("b"), Refusal("n")]).first
    assert (choice.text, choice.reasoning, choice.refusal) == ("ab", "r", "n")
    assert choice.tool_calls == (ToolCall(0, "x", "f"),)


@pytest.mark.parametrize("event", [None, {"text": "a"}, 5, b"a", Completion()])
def test_what_is_no_event_is_refused(event):
    with pytest.raises(TypeError, match="no event of a model"):
        Assembly().take(event)


# --- choices ---------------------------------------------------------------------------------------


def test_choices_interleave_and_are_sorted():
    completion = fold_all([Text("b", 1), Text("a", 0), Text("B", 1), Finish("length", 1)])
    assert completion.choices == (Choice(0, (Text("a"),), "stop"), Choice(1, (Text("bB", 1),), "length"))


def test_the_first_choice_exists_always():
    assert fold_all([]).choices == (Choice(0, (), "stop"),)
    assert fold_all([Text("a", 1)]).first == Choice(0, (), "stop")
    assert Completion().first == Choice()


@LAW
@given(said(), st.randoms(use_true_random=False))
def test_how_choices_interleave_makes_no_difference(events, random):
    rows = {}
    for event in events:
        rows.setdefault(getattr(event, "choice", None), []).append(event)
    mixed = []
    while any(rows.values()):
        mixed.append(random.choice([row for row in rows.values() if row]).pop(0))
    assert fold_all(mixed) == fold_all(events)


# --- the end -----------------------------------------------------------------------------------------


def test_a_finished_choice_takes_nothing_more():
    events = [Text("a"), ToolCall(0, "x", "f"), Finish("tool_calls")]
    late = [Text("b"), ToolArguments(0, "{}"), ToolCall(1, "y", "g"), Logprobs([{"token": "b"}]), Finish("stop")]
    assert fold_all([*events, *late]) == fold_all(events)


def test_length_wins_over_every_other_reason():
    assert fold_all([Text("a"), Finish("stop"), Finish("length")]).first.finish == "length"
    assert fold_all([ToolCall(0, "x", "f", "{"), Finish("tool_calls"), Finish("length")]).first.finish == "length"
    assert fold_all([Finish("length"), Finish("stop")]).first.finish == "length"


def test_stop_after_a_call_is_tool_calls():
    assert fold_all([ToolCall(0, "x", "f"), Finish("stop")]).first.finish == "tool_calls"
    assert fold_all([ToolCall(0, "x", "f")]).first.finish == "tool_calls"
    assert fold_all([ToolCall(0, "x", "f"), Finish("length")]).first.finish == "length"
    assert fold_all([Text("a"), Finish("stop")]).first.finish == "stop"


def test_the_stop_sequence_is_kept():
    assert fold_all([Finish("stop", stop_sequence="END")]).first.stop_sequence == "END"


def test_only_the_end_of_the_source_ends_a_choice_without_finish():
    fold = CompletionFold()
    state = fold.step(fold.start(), Text("a"))
    assert fold.snapshot(state).first.finish is None
    assert fold.result(state).first.finish == "stop"
    assert fold.result(state) == fold.result(state)


# --- calls -----------------------------------------------------------------------------------------


def test_arguments_are_joined():
    assert parts(ToolCall(0, "x", "f", '{"a"'), ToolArguments(0, ":"), ToolArguments(0, "1}")) == (
        ToolCall(0, "x", "f", '{"a":1}'),
    )


def test_calls_interleave():
    assert parts(
        ToolCall(0, "x", "f"),
        ToolCall(1, "y", "g"),
        ToolArguments(1, "{}"),
        ToolArguments(0, "{"),
        ToolArguments(0, "}"),
    ) == (ToolCall(0, "x", "f", "{}"), ToolCall(1, "y", "g", "{}"))


def test_another_id_at_the_same_index_is_another_call():
    assert parts(ToolCall(0, "x", "f", "{}"), ToolCall(0, "y", "f"), ToolArguments(0, "[]")) == (
        ToolCall(0, "x", "f", "{}"),
        ToolCall(1, "y", "f", "[]"),
    )


def test_id_and_name_are_set_once():
    assert parts(ToolCall(0, "x", "f", "{"), ToolCall(0, "x", "other", "}"), ToolCall(0, "x", "")) == (
        ToolCall(0, "x", "f", "{}"),
    )


def test_a_call_without_an_id_gets_one():
    calls = parts(
        ToolCall(0, "", "f", "{}"), ToolCall(0, "", "f", "{}"), ToolCall(0, "call_0_2", "g"), ToolCall(0, "", "h")
    )
    assert [call.id for call in calls] == ["call_0_0", "call_0_1", "call_0_2", "call_0_3"]
    assert fold_all([ToolCall(0, "call_0_1", "f"), ToolCall(0, "", "g")]).first.tool_calls[1].id == "call_0_1_"


def test_arguments_of_no_call_are_dropped():
    assert parts(ToolArguments(0, "{}"), ToolCall(3, "x", "f"), ToolArguments(0, "{}"), ToolArguments(3, "[")) == (
        ToolCall(0, "x", "f", "["),
    )


def test_a_call_without_a_name_is_none():
    assert parts(ToolCall(0, "x", "", "{}")) == ()


@pytest.mark.parametrize(
    ("arguments", "late", "expected"),
    [
        (["{}"], "x", "{}"),
        (['{"a":', "1}", " \n"], "x", '{"a":1} \n'),
        (["{"], "}", "{}"),
        (["[1]"], "x", "[1]x"),
        (["}"], "x", "}x"),
        ([], "{}", "{}"),
    ],
)
def test_a_complete_call_is_closed_when_something_else_begins(arguments, late, expected):
    events = [
        ToolCall(0, "x", "f"),
        *[ToolArguments(0, piece) for piece in arguments],
        Text("a"),
        ToolArguments(0, late),
    ]
    assert parts(*events)[0] == ToolCall(0, "x", "f", expected)


# --- usage and probabilities ---------------------------------------------------------------------


def test_the_last_number_that_is_known_counts_and_zero_is_one():
    assert fold_all([Usage(5, 1), Usage(None, 7), Usage(0)]).usage == Usage(0, 7)
    assert fold_all([Text("a")]).usage is None
    assert Usage(3, None, 2).updated(Usage(None, 4, None, 1)) == Usage(3, 4, 2, 1)
    assert (Usage(3, 4).total_tokens, Usage().total_tokens) == (7, 0)


def test_the_usage_may_come_after_the_end():
    assert fold_all([Finish(), Usage(1, 2)]).usage == Usage(1, 2)


def test_probabilities_are_collected_apart_from_the_parts():
    a, b, c = ({"token": token} for token in "abc")
    choice = fold_all([Logprobs([a]), Text("a"), Logprobs([]), Logprobs((b, c), refusal=True), Refusal("bc")]).first
    assert (choice.logprobs, choice.refusal_logprobs) == ((a,), (b, c))
    assert fold_all([Text("a")]).first.logprobs is None


def test_what_was_used_when_the_client_left():
    """A snapshot estimates the output that nobody has reported: one piece is about one token."""
    fold = CompletionFold()
    state = fold.start()
    assert fold.snapshot(state) == Completion()
    for event in [Text("a"), Text("b", 1), Reasoning("c"), ToolCall(0, "x", "f", "{"), ToolArguments(0, "}")]:
        fold.step(state, event)
    assert fold.snapshot(state).usage == Usage(None, 5, estimated=True)
    fold.step(state, Usage(10))
    assert fold.snapshot(state).usage == Usage(10, 5, estimated=True)
    fold.step(state, Usage(None, 0))
    assert fold.snapshot(state).usage == Usage(10, 0)
    assert fold.result(state).usage == Usage(10, 0)


# --- as a whole --------------------------------------------------------------------------------------


@LAW
@given(said())
def test_a_snapshot_is_a_beginning_of_the_result(events):
    fold = CompletionFold()
    state = fold.start()
    snapshots = [fold.snapshot(state := fold.step(state, event)) for event in events]
    texts = {choice.index: choice.text for choice in fold.result(state).choices}
    for snapshot in snapshots:
        assert all(texts[choice.index].startswith(choice.text) for choice in snapshot.choices)


@LAW
@given(said())
def test_the_events_of_a_completion_fold_to_it(events):
    completion = fold_all(events)
    assert fold_all(completion.events()) == completion


@LAW
@given(said())
def test_what_an_assembly_gives_back_counts_and_folds_to_the_same(events):
    assembly = Assembly()
    counted = [one for one in map(assembly.take, events) if one is not None]
    assert fold_all(counted) == fold_all(events)
    again = Assembly()
    assert [again.take(one) for one in counted] == counted


@pytest.mark.parametrize("events", ANSWERS.values(), ids=ANSWERS)
def test_the_fold_is_the_function(events):
    fold = CompletionFold()
    state = fold.start()
    for event in events:
        state = fold.step(state, event)
    assert fold.result(state) == fold_all(events)


def test_the_effort_is_linear():
    """Ten times the pieces take about ten times as long. A quadratic fold would take a hundred times."""

    def seconds(count):
        events = [Text("piece ")] * (count // 2) + [ToolCall(0, "x", "f")] + [ToolArguments(0, "piece ")] * (count // 2)
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            fold_all(events)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(100_000) < 40 * max(seconds(10_000), 0.001)
