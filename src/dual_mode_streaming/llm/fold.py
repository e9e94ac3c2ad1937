"""The one fold of the LLM layer: all events of a model to a `Completion`.

Every dialect writes its batch answer from the `Completion`, and its stream from what the same `Assembly` lets through.
So the rules below are applied in one place, and both answers follow them.

- An empty text says nothing. A text of the same kind as the one before it continues it.
- A choice that is finished takes nothing more. The first reason holds; only `length` replaces another one, because an
  answer that was cut must not look complete.
- `stop` after a call is `tool_calls`.
- A call is known by its id: another id at the same index is another call, and an id that comes back is the call that
  had it. Arguments belong to the last call of their index. Id and name are set once. A call without an id is a new one
  and gets an id. Arguments that belong to no call are dropped, because nobody could carry them out.
- A call whose arguments are a complete JSON object is closed when something else begins. It takes nothing more.
- The last number of a usage that is not None counts.
- Texts are joined once, at the end: the effort is linear.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dual_mode_streaming.errors import AnswerTooLarge
from dual_mode_streaming.folds import Fold
from dual_mode_streaming.jsonbytes import decode_json

from .completion import Choice, Completion, Part
from .events import Event, Finish, Logprobs, Reasoning, Refusal, Text, ToolArguments, ToolCall, Usage

__all__ = ["Assembly", "Choice", "Completion", "CompletionFold", "OpenChoice", "OpenPart", "Part", "fold_all"]

EVENT_SIZE = 64
"""What an event counts beside its text, and about what Python needs to hold a short piece."""


class OpenPart:
    """A part to which pieces may still come.

    Attributes:
        kind: The class of its events: `Text`, `Reasoning`, `Refusal` or `ToolCall`.
        pieces: The texts so far, none of them empty; of a call those of its arguments.
        call: The call without its arguments, or None.
        closed: Whether nothing more can come.
    """

    __slots__ = ("call", "closed", "kind", "pieces")

    def __init__(self, kind: type[Part], call: ToolCall | None = None) -> None:
        self.kind = kind
        self.pieces: list[str] = []
        self.call = call
        self.closed = False

    @property
    def text(self) -> str:
        """The pieces, joined."""
        return "".join(self.pieces)

    def part(self, choice: int) -> Part:
        """Give the part as it is now."""
        call = self.call
        if call is not None:
            return ToolCall(call.index, call.id, call.name, self.text, choice)
        kind: Any = self.kind
        return kind(self.text, choice)  # type: ignore[no-any-return]

    def has_all_arguments(self) -> bool:
        """Whether the arguments are a complete JSON object."""
        last = next((piece for piece in reversed(self.pieces) if not piece.isspace()), "")
        if not last.rstrip().endswith("}"):
            return False
        try:
            return isinstance(decode_json(self.text), dict)
        except ValueError:
            return False


class OpenChoice:
    """A choice to which events may still come.

    Attributes:
        parts: Its parts so far. The last one of a kind of text, and every call that is not closed, may grow.
        finish: How it ended; None if it has not.
        logprobs: The tokens of its text.
        refusal_logprobs: The tokens of its refusal.
    """

    __slots__ = (
        "_calls",
        "_count",
        "_latest",
        "_open_calls",
        "finish",
        "index",
        "kind",
        "logprobs",
        "parts",
        "pieces",
        "refusal_logprobs",
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.parts: list[OpenPart] = []
        self.finish: Finish | None = None
        self.logprobs: list[Mapping[str, Any]] = []
        self.refusal_logprobs: list[Mapping[str, Any]] = []
        # The kind of the last part and its pieces: what the next text is compared with, and joins.
        self.kind: type[Event] | None = None
        self.pieces: list[str] = []
        self._calls: dict[str, OpenPart] = {}
        self._latest: dict[int, OpenPart] = {}
        self._open_calls: list[OpenPart] = []
        self._count = 0

    @property
    def has_calls(self) -> bool:
        """Whether a call was begun."""
        return self._count > 0

    def begin(self, kind: type[Part], call: ToolCall | None = None) -> OpenPart:
        """Begin a part. The calls before it whose arguments are complete are closed."""
        if self._open_calls:
            for part in self._open_calls:
                part.closed = part.has_all_arguments()
            self._open_calls = [part for part in self._open_calls if not part.closed]
        part = OpenPart(kind, call)
        self.parts.append(part)
        self.kind = kind
        self.pieces = part.pieces
        return part

    def call(self, event: ToolCall) -> Event | None:
        """Take a call: a new one, or one that is named again."""
        known = self._calls.get(event.id)
        if known is not None:
            self._latest[event.index] = known
        if known is not None or not event.name:
            return self.arguments(event.index, event.arguments)
        number = self._count
        self._count += 1
        identity = event.id or f"call_{self.index}_{number}"
        while identity in self._calls:
            identity += "_"
        call = ToolCall(number, identity, event.name, choice=self.index)
        part = self.begin(ToolCall, call)
        self._open_calls.append(part)
        self._latest[event.index] = part
        self._calls[identity] = part
        if not event.arguments:
            return call
        part.pieces.append(event.arguments)
        return ToolCall(number, identity, event.name, event.arguments, self.index)

    def arguments(self, index: int, text: str) -> ToolArguments | None:
        """Take a piece of the arguments of the last call of an index."""
        part = self._latest.get(index)
        if part is None or part.call is None or part.closed or not text:
            return None
        part.pieces.append(text)
        return ToolArguments(part.call.index, text, self.index)

    def end(self, event: Finish) -> Finish | None:
        """Take the end of the choice."""
        reason = "tool_calls" if event.reason == "stop" and self.has_calls else event.reason
        if self.finish is not None and (reason != "length" or self.finish.reason == "length"):
            return None
        self.finish = Finish(reason, self.index, event.stop_sequence)
        return self.finish

    def choice(self) -> Choice:
        """Give the choice as it is now."""
        finish = self.finish
        return Choice(
            self.index,
            tuple([part.part(self.index) for part in self.parts]),
            None if finish is None else finish.reason,
            None if finish is None else finish.stop_sequence,
            tuple(self.logprobs) or None,
            tuple(self.refusal_logprobs) or None,
        )


class Assembly:
    """The state of the fold: everything that was said so far, by the rules of this file.

    Args:
        most: The bound; None for none. Each text counts with its characters, and each event with `EVENT_SIZE` more.

    Attributes:
        choices: The choices by their index, in the order of their begin.
        usage: The tokens used, as far as the model has reported them.
    """

    __slots__ = ("_most", "_room", "choices", "usage")

    def __init__(self, most: int | None = None) -> None:
        self.choices: dict[int, OpenChoice] = {}
        self.usage: Usage | None = None
        self.bound(most)

    def bound(self, most: int | None) -> None:
        """Set the bound, before anything was said."""
        self._most = most
        self._room = float("inf") if most is None else most

    def take(self, event: Event | str) -> Event | None:
        """Take one event.

        Returns:
            The event as it counts; None if it adds nothing. In what is given back, calls are counted from 0, a call
            that is named again is a piece of arguments, and a usage has everything that is known.

        Raises:
            TypeError: It is no event.
            AnswerTooLarge: It would be over the bound.
        """
        # Almost every event is a text. To compare its class takes half of the time of `isinstance`.
        one: Any = event
        kind = one.__class__
        if kind is Text or kind is Reasoning or kind is Refusal:
            if not one.text:
                return None
            choice = self.choices.get(one.choice) or self._open(one.choice)
            if choice.finish is not None:
                return None
            self._room -= len(one.text) + EVENT_SIZE
            if self._room < 0:
                raise self._too_large()
            if choice.kind is not kind:
                choice.begin(kind)
            choice.pieces.append(one.text)
            return one  # type: ignore[no-any-return]
        if kind is ToolArguments:
            self._count(len(one.text))
            found = self.choices.get(one.choice)
            return None if found is None or found.finish is not None else found.arguments(one.index, one.text)
        return self._take_rare(event)

    def _take_rare(self, event: Event | str) -> Event | None:
        if isinstance(event, str):
            return self.take(Text(event))
        if isinstance(event, Usage):
            self.usage = event if self.usage is None else self.usage.updated(event)
            return self.usage
        if not isinstance(event, (ToolCall, Logprobs, Finish)):
            raise TypeError(f"{event!r} is no event of a model: it must be one of those of llm.events, or a string")
        choice = self.choices.get(event.choice) or self._open(event.choice)
        if isinstance(event, Finish):
            return choice.end(event)
        if choice.finish is not None:
            return None
        if isinstance(event, ToolCall):
            self._count(len(event.arguments))
            return choice.call(event)
        if not event.tokens:
            return None
        self._count(EVENT_SIZE * len(event.tokens))
        (choice.refusal_logprobs if event.refusal else choice.logprobs).extend(event.tokens)
        return event

    def end(self) -> list[Finish]:
        """Say that the model is done: every choice that has not ended does so now, with the reason `stop`.

        Returns:
            The ends that this adds. Choice 0 always exists; it is empty if nothing was said in it.
        """
        if 0 not in self.choices:
            self._open(0)
        ends = [choice.end(Finish()) for choice in self.choices.values() if choice.finish is None]
        return [end for end in ends if end is not None]

    def completion(self) -> Completion:
        """Give what was said so far."""
        return Completion(tuple(self.choices[index].choice() for index in sorted(self.choices)), self.usage)

    def estimated(self) -> Completion:
        """Give what was said so far; if the model has not reported its output, with the number of its pieces.

        Most models say one token at a time, so this is close to what a client that has left is to be charged for.
        """
        completion = self.completion()
        usage = self.usage or Usage()
        pieces = sum(len(part.pieces) for choice in self.choices.values() for part in choice.parts)
        if usage.output_tokens is not None or not pieces:
            return completion
        return Completion(completion.choices, usage.updated(Usage(output_tokens=pieces, estimated=True)))

    def _count(self, size: int) -> None:
        self._room -= size + EVENT_SIZE
        if self._room < 0:
            raise self._too_large()

    def _too_large(self) -> AnswerTooLarge:
        return AnswerTooLarge(f"{self._most} characters, counting {EVENT_SIZE} for each event")

    def _open(self, index: int) -> OpenChoice:
        choice = self.choices[index] = OpenChoice(index)
        return choice


class CompletionFold(Fold[Event | str, Completion]):
    """Folds what a model says to a `Completion`.

    `result` is for a source that came to its end: a choice without a `Finish` ends with `stop`. `snapshot` is what
    was said so far; its usage is marked as estimated if the model had not reported one.
    """

    def start(self) -> Assembly:
        """Give an assembly of nothing."""
        return Assembly()

    def step(self, state: Assembly, item: Event | str) -> Assembly:
        """Take one more event."""
        state.take(item)
        return state

    def result(self, state: Assembly) -> Completion:
        """Give the whole answer."""
        state.end()
        return state.completion()

    def snapshot(self, state: Assembly) -> Completion:
        """Give the answer so far."""
        return state.estimated()


def fold_all(events: Iterable[Event | str]) -> Completion:
    """Fold everything that a model said, when it is done."""
    assembly = Assembly()
    for event in events:
        assembly.take(event)
    assembly.end()
    return assembly.completion()
