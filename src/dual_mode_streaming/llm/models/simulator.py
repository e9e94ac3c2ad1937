"""A model that computes nothing: it answers with words of a text, and is made for tests, courses and demonstrations.

Rules:

- It is a pure function of its seed and of what is asked. The mode is no part of that, so both modes say the same.
- It does what clients may ask for: tools, a schema, stop sequences, a bound, several choices, probabilities.
- A `Script` makes it slow, or makes it fail where a test wants it to.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Literal

from dual_mode_streaming.errors import ModelError, StreamAborted
from dual_mode_streaming.jsonbytes import encode_json
from dual_mode_streaming.llm.events import Event, Finish, Logprobs, Text, ToolArguments, ToolCall, Usage
from dual_mode_streaming.llm.requests import Request, Tool

from ._samples import value_for, words_from

__all__ = ["Failure", "Script", "Simulator"]

Failure = Literal["rate_limit", "error", "cut"]

_LENGTHS = (24, 60)
"""How many words an answer has that nobody bounds, from and to."""
_PIECE = 6
"""How many characters of JSON are one token."""


@dataclass(frozen=True, slots=True)
class Script:
    """What a simulator is to do, beside answering.

    Attributes:
        text: Say this, word by word, instead of words that are drawn.
        fail_at: Fail instead of giving this token, counted from 0 over all choices; 0 is before anything was said.
            None: do not fail.
        failure: `rate_limit` is a 429 with `retry-after`, `error` is a 500, `cut` breaks the connection.
    """

    text: str | None = None
    fail_at: int | None = None
    failure: Failure = "error"


class Simulator:
    """Answers with words of a text.

    Args:
        seed: Another seed gives other answers.
        pace: Seconds between two tokens.
        script: What it is to do beside answering, or a function that says so for each request.
        first_token: Seconds before the first token, as if it had to read the prompt.
        names: The names under which clients ask for it.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        pace: float = 0.0,
        script: Script | Callable[[Request], Script | None] | None = None,
        first_token: float = 0.0,
        names: Sequence[str] = ("simulator",),
    ) -> None:
        self._seed = seed
        self._pace = pace
        self._script = script
        self._first_token = first_token
        self._names = tuple(names)

    @property
    def names(self) -> Sequence[str]:
        """The names under which clients ask for it."""
        return self._names

    async def generate(self, request: Request) -> AsyncIterator[Event]:
        """Answer a request.

        Raises:
            ModelError: The script says so.
            StreamAborted: The script says that the connection is to break.
        """
        script = self._script(request) if callable(self._script) else self._script
        script = script or Script()
        choices = [_Answer(request, script, self._draw(request, choice), choice) for choice in range(request.n)]
        if self._first_token:
            await asyncio.sleep(self._first_token)
        given = 0
        for place in range(max(len(answer.tokens) for answer in choices)):
            for answer in choices:
                if place < len(answer.tokens):
                    if given == script.fail_at:
                        raise _failure(script.failure)
                    if given and self._pace:
                        await asyncio.sleep(self._pace)
                    given += 1
                    for event in answer.tokens[place]:
                        yield event
        if script.fail_at is not None and script.fail_at >= given:
            raise _failure(script.failure)
        for answer in choices:
            yield answer.end
        yield Usage(_tokens_in(request), given)

    def _draw(self, request: Request, choice: int) -> Random:
        """Give the source of all that is random in one choice. It knows nothing of the mode."""
        asked = (
            self._seed,
            choice,
            request.model,
            request.messages,
            request.tools,
            request.tool_choice,
            request.forced_tool,
            request.sampling.seed,
            request.sampling.temperature,
            request.schema,
        )
        return Random(int.from_bytes(sha256(repr(asked).encode("utf-8", "surrogatepass")).digest()[:8]))  # noqa: S311  no secret


class _Answer:
    """One choice, worked out.

    Attributes:
        tokens: The events of each token.
        end: The last event.
    """

    def __init__(self, request: Request, script: Script, draw: Random, choice: int) -> None:
        sampling = request.sampling
        tool = None if script.text is not None else _tool_to_call(request, draw)
        self.end = Finish("stop", choice)
        if tool is not None:
            pieces = _cut(encode_json(value_for(tool.parameters, draw)).decode())
            call = ToolCall(0, f"call_{draw.getrandbits(64):016x}", tool.name, choice=choice)
            arguments: list[list[Event]] = [[ToolArguments(0, piece, choice)] for piece in pieces]
            self.tokens: list[list[Event]] = [[call], *arguments]
            self.end = Finish("tool_calls", choice)
        else:
            pieces, stop = _until_stop(_pieces(request, script, draw), sampling.stop)
            self.tokens = [_spoken(piece, request, draw, choice) for piece in pieces]
            self.end = Finish("stop", choice, stop)
        if sampling.max_tokens is not None and len(self.tokens) > sampling.max_tokens:
            self.tokens = self.tokens[: sampling.max_tokens]
            self.end = Finish("length", choice)


def _pieces(request: Request, script: Script, draw: Random) -> list[str]:
    if script.text is not None:
        words = script.text.split(" ")
        return [word if number == 0 else f" {word}" for number, word in enumerate(words)]
    if request.schema is not None:
        return _cut(encode_json(value_for(request.schema, draw)).decode())
    return words_from(draw, draw.randint(*_LENGTHS))


def _tool_to_call(request: Request, draw: Random) -> Tool | None:
    """Choose a tool: the one that is forced, or any if one may be called and no result has just come back."""
    if not request.tools or request.tool_choice == "none":
        return None
    named = [tool for tool in request.tools if tool.name == request.forced_tool]
    if named:
        return named[0]
    answered = bool(request.messages) and request.messages[-1].role == "tool"
    return None if answered and request.tool_choice != "required" else draw.choice(list(request.tools))


def _until_stop(pieces: list[str], stops: Sequence[str]) -> tuple[list[str], str | None]:
    """Cut the pieces before the first stop sequence, which may lie across several of them."""
    text = "".join(pieces)
    found = [(text.find(stop), stop) for stop in stops if stop and stop in text]
    if not found:
        return pieces, None
    end, stop = min(found)
    kept: list[str] = []
    for piece in pieces:
        if end <= 0:
            break
        kept.append(piece[:end])
        end -= len(piece)
    return kept, stop


def _spoken(piece: str, request: Request, draw: Random, choice: int) -> list[Event]:
    if not request.logprobs:
        return [Text(piece, choice)]
    token = {"token": piece, "logprob": math.log(draw.uniform(0.2, 1.0)), "bytes": list(piece.encode())}
    others = [{**token, "logprob": token["logprob"]}] if request.top_logprobs else []
    return [Logprobs([{**token, "top_logprobs": others}], choice=choice), Text(piece, choice)]


def _cut(text: str) -> list[str]:
    return [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]


def _tokens_in(request: Request) -> int:
    return sum(len(message.text.split()) + 1 for message in request.messages)


def _failure(kind: Failure) -> Exception:
    if kind == "rate_limit":
        return ModelError(
            "Too many requests for this model. Try again in a second.",
            status=429,
            code="rate_limit_exceeded",
            headers={"retry-after": "1"},
        )
    if kind == "cut":
        return StreamAborted("The simulated connection broke.")
    return ModelError("The simulated model has failed.", status=500, code="model_failed")
