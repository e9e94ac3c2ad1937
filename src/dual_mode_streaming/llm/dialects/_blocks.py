"""What the dialects share whose answer is a row of parts, each begun, filled and ended before the next one.

The parts are those of the `Assembly`. The renderer walks along them and writes what is new. It leaves a call only when
its arguments are complete, or at the end; what is said meanwhile waits in the assembly.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dual_mode_streaming.jsonbytes import decode_json, encode_json
from dual_mode_streaming.llm.events import Event, Reasoning, Refusal, Text, ToolCall
from dual_mode_streaming.llm.fold import Choice, OpenChoice, Part

from .base import Renderer

__all__ = ["Block", "BlockRenderer", "arguments_object", "arguments_text", "blocks_of", "shown_as"]


@dataclass(slots=True)
class Block:
    """A part of an answer as a dialect shows it.

    Attributes:
        number: Which one, counted from 0.
        kind: What it is: `Text`, `Reasoning`, `Refusal` or `ToolCall`. In most dialects a refusal is shown as text.
        call: The call, without its arguments; None for texts.
        text: The whole text; of a call its arguments. While it is written it is empty.
    """

    number: int
    kind: type[Part]
    call: ToolCall | None = None
    text: str = ""


def shown_as(kind: type[Part], refusals: bool) -> type[Part]:
    """Give the kind as which a dialect shows a part."""
    return Text if kind is Refusal and not refusals else kind


def blocks_of(choice: Choice, *, refusals: bool = False) -> list[Block]:
    """Give the parts of a choice as a dialect shows them; side by side, texts of one kind are one block.

    Args:
        choice: The choice.
        refusals: Whether the dialect tells refusals from texts.
    """
    blocks: list[Block] = []
    for part in choice.parts:
        kind = shown_as(type(part), refusals)
        if isinstance(part, ToolCall):
            blocks.append(Block(len(blocks), kind, part, part.arguments))
        elif blocks and blocks[-1].kind is kind:
            blocks[-1].text += part.text
        else:
            blocks.append(Block(len(blocks), kind, None, part.text))
    return blocks


class BlockRenderer(Renderer):
    """Writes choice 0 as a row of blocks."""

    refusals = False
    """Whether the dialect tells refusals from texts."""

    def __init__(self) -> None:
        super().__init__()
        self._block: Block | None = None
        self._begun = 0
        # The part that is being written, how many of its pieces are, and the texts of its block.
        self._at = 0
        self._sent = 0
        self._texts: list[str] = []
        # The pieces of the part that is being written, if it is the last one and a text: then a piece needs no walk.
        self._pieces: list[str] | None = None

    def event(self, event: Event | str) -> bytes:
        """Give the frames of an event."""
        taken = self.assembly.take(event)
        choice = self.assembly.choices.get(0)
        if taken is None or choice is None:
            return b""
        if choice.pieces is self._pieces and self._block is not None:
            if isinstance(taken, (Text, Reasoning, Refusal)) and taken.choice == 0:
                self._sent += 1
                self._texts.append(taken.text)
                return self.delta(self._block, taken.text)
            return b""
        return self._walk(choice, to_the_end=False)

    def finish(self) -> bytes:
        """Give what ends a stream that is complete."""
        self.assembly.end()
        choice = self.assembly.choices.get(0) or OpenChoice(0)
        return self._walk(choice, to_the_end=True) + self._close() + self.ended(choice)

    def _walk(self, choice: OpenChoice, *, to_the_end: bool) -> bytes:
        parts = choice.parts
        frames: list[bytes] = []
        while self._at < len(parts):
            part = parts[self._at]
            if self._sent == 0 and (part.pieces or part.call is not None):
                kind = shown_as(part.kind, self.refusals)
                if self._block is None or self._block.kind is not kind or self._block.call is not part.call:
                    frames.append(self._close())
                    self._block = Block(self._begun, kind, part.call)
                    self._begun += 1
                    frames.append(self.opened(self._block))
            if self._block is not None and self._sent < len(part.pieces):
                text = part.pieces[-1] if self._sent == len(part.pieces) - 1 else "".join(part.pieces[self._sent :])
                self._sent = len(part.pieces)
                self._texts.append(text)
                frames.append(self.delta(self._block, text))
            if self._at == len(parts) - 1 or (part.call is not None and not (part.closed or to_the_end)):
                break
            self._at += 1
            self._sent = 0
        self._pieces = choice.pieces if parts and self._at == len(parts) - 1 and parts[-1].call is None else None
        return b"".join(frames)

    def _close(self) -> bytes:
        block, self._block = self._block, None
        if block is None:
            return b""
        block.text = "".join(self._texts)
        self._texts.clear()
        return self.closed(block)

    @abstractmethod
    def opened(self, block: Block) -> bytes:
        """Give the frames that begin a block."""

    @abstractmethod
    def delta(self, block: Block, text: str) -> bytes:
        """Give the frame of a piece."""

    @abstractmethod
    def closed(self, block: Block) -> bytes:
        """Give the frames that end a block. Its text is complete now."""

    @abstractmethod
    def ended(self, choice: OpenChoice) -> bytes:
        """Give the frames behind the last block."""


# --- arguments as an object --------------------------------------------------------------------


def arguments_object(text: str) -> dict[str, Any]:
    """Read the arguments of a call, for dialects that send them as an object.

    Arguments that were cut short are read up to the last value that is certainly complete. What is no object at all
    is an empty one.
    """
    for candidate in (text, *_beginnings(text)):
        try:
            value = decode_json(candidate)
        except ValueError:
            continue
        if isinstance(value, dict):
            return value
    return {}


def arguments_text(value: object) -> str:
    """Write the arguments of a call, which some dialects send as an object and others as text."""
    if isinstance(value, str):
        return value
    return encode_json(value if isinstance(value, Mapping) else {}).decode()


def _beginnings(text: str) -> Iterator[str]:
    """Cut a JSON text behind its last complete value, and close what is open there."""
    open_brackets: list[str] = []
    cut: tuple[int, str] | None = None
    in_string = escaped = False
    for at, sign in enumerate(text):
        if in_string:
            in_string = escaped or sign != '"'
            escaped = sign == "\\" and not escaped
        elif sign == '"':
            in_string = True
        elif sign in "{[":
            open_brackets.append("}" if sign == "{" else "]")
            cut = at + 1, "".join(reversed(open_brackets))
        elif sign in "}]" and open_brackets:
            open_brackets.pop()
            cut = at + 1, "".join(reversed(open_brackets))
            if not open_brackets:
                break
        elif sign == ",":
            cut = at, "".join(reversed(open_brackets))
    if cut is not None:
        yield text[: cut[0]] + cut[1]
