"""What the dialects share whose answer is a row of parts, each begun, filled and ended before the next one.

The parts are those of the `Assembly`. The renderer walks along them and writes what is new. It leaves a call only when
its arguments are complete, or at the end; what is said meanwhile waits in the assembly.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import orjson

from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.llm.events import Event, Reasoning, Refusal, Text, ToolCall
from dual_mode_streaming.llm.fold import Choice, OpenChoice, OpenPart, Part

from .base import Renderer

__all__ = ["Block", "BlockRenderer", "blocks_of", "shown_as"]

_TEXTS = (Text, Reasoning, Refusal)


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
    texts: list[list[str]] = []
    for part in choice.parts:
        kind = shown_as(type(part), refusals)
        if isinstance(part, ToolCall):
            blocks.append(Block(len(blocks), kind, part))
            texts.append([part.arguments])
        elif blocks and blocks[-1].kind is kind:
            texts[-1].append(part.text)
        else:
            blocks.append(Block(len(blocks), kind))
            texts.append([part.text])
    for block, pieces in zip(blocks, texts, strict=True):
        block.text = "".join(pieces)
    return blocks


class BlockRenderer(Renderer):
    """Writes choice 0 as a row of blocks.

    Almost every event is a piece of the text that is open. It needs no walk, and all of its frame but the piece is
    known before: `opened` puts it in `front` and `back`.
    """

    refusals = False
    """Whether the dialect tells refusals from texts."""

    def __init__(self) -> None:
        super().__init__()
        self.front = b""
        self.back = b""
        self._block: Block | None = None
        self._begun = 0
        # The part that is being written, how many of its pieces are, and the first part of its block.
        self._at = 0
        self._sent = 0
        self._first = 0
        # The pieces of the part that is being written, if it is a text and the last one. All of them are written.
        self._pieces: list[str] | None = None

    def event(self, event: Event | str) -> bytes:
        """Give the frames of an event."""
        taken = self.assembly.take(event)
        choice = self.assembly.choices.get(0)
        if taken is None or choice is None:
            return b""
        if choice.pieces is self._pieces:
            return self.delta(taken.text) if isinstance(taken, _TEXTS) and taken.choice == 0 else b""
        return self._walk(choice, to_the_end=False)

    def finish(self) -> bytes:
        """Give what ends a stream that is complete."""
        self.assembly.end()
        choice = self.assembly.choices[0]
        return self._walk(choice, to_the_end=True) + self._close(choice, len(choice.parts)) + self.ended(choice)

    def delta(self, text: str) -> bytes:
        """Give the frame of a piece."""
        try:
            return self.front + orjson.dumps(text) + self.back
        except TypeError:
            return encode_json(text)  # it says what is wrong with the text

    def delta_of_call(self, text: str) -> bytes:
        """Give the frame of a piece of arguments."""
        return self.delta(text)

    @abstractmethod
    def opened(self, block: Block) -> bytes:
        """Give the frames that begin a block, and set `front` and `back`."""

    @abstractmethod
    def closed(self, block: Block) -> bytes:
        """Give the frames that end a block. Its text is complete now."""

    @abstractmethod
    def ended(self, choice: OpenChoice) -> bytes:
        """Give the frames behind the last block."""

    def _walk(self, choice: OpenChoice, *, to_the_end: bool) -> bytes:
        parts = choice.parts
        frames: list[bytes] = []
        if self._pieces is not None:
            self._sent = len(self._pieces)
        while self._at < len(parts):
            part = parts[self._at]
            if not self._sent and not self._continues(part):
                frames.append(self._close(choice, self._at))
                self._first = self._at
                self._block = Block(self._begun, shown_as(part.kind, self.refusals), part.call)
                self._begun += 1
                frames.append(self.opened(self._block))
            if self._sent < len(part.pieces):
                text = "".join(part.pieces[self._sent :])
                self._sent = len(part.pieces)
                frames.append(self.delta(text) if part.call is None else self.delta_of_call(text))
            if self._at == len(parts) - 1 or (part.call is not None and not (part.closed or to_the_end)):
                break
            self._at += 1
            self._sent = 0
        at_the_end = parts and self._at == len(parts) - 1 and parts[-1].call is None
        self._pieces = choice.pieces if at_the_end else None
        return b"".join(frames)

    def _continues(self, part: OpenPart) -> bool:
        """Whether a part belongs to the block that is open."""
        block = self._block
        return block is not None and block.kind is shown_as(part.kind, self.refusals) and block.call is part.call

    def _close(self, choice: OpenChoice, end: int) -> bytes:
        """Give the end of the block that is open, which has the parts up to one that is not its own any more."""
        block, self._block = self._block, None
        if block is None:
            return b""
        block.text = "".join([part.text for part in choice.parts[self._first : end]])
        return self.closed(block)
