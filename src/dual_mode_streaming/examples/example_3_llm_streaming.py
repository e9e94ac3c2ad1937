"""Example 3: a language model, asked by OpenAI's own client, in both modes.

The model is written once and yields pieces of text. `llm_router` puts it behind the endpoints of OpenAI, Anthropic,
Ollama and the Vercel AI SDK, so every client of these finds what it knows: a document or a stream, and the same errors.

The first sections use a simulator, which gives words of a text at a pace that can be watched. The last one uses a real
model, if `make local-model` has installed it.

Run it with `make example-3` or `python -m dual_mode_streaming.examples.example_3_llm_streaming`.
"""

from __future__ import annotations

from queue import SimpleQueue
from time import perf_counter
from typing import Any

import httpx2
import openai
from fastapi import FastAPI
from rich.console import Console
from rich.markup import escape

from dual_mode_streaming import Outcome
from dual_mode_streaming.llm import Completion, LlamaModel, Model, Request, Script, Simulator, Timings, llm_router
from dual_mode_streaming.testing import live_server

console = Console(highlight=False)
if not console.is_terminal:
    console.width = 124

QUESTION = "What is a river?"
MESSAGES: Any = [{"role": "user", "content": QUESTION}]


# --- the server --------------------------------------------------------------------------------


def script(request: Request) -> Script | None:
    """Let some questions fail, for section 3."""
    return {
        "Fail at once.": Script(fail_at=0, failure="rate_limit"),
        "Fail later.": Script(text="Some words come, and then", fail_at=5),
    }.get(request.messages[-1].text)


def serving(model: Model, measured: SimpleQueue[Timings]) -> FastAPI:
    """Make an application that serves a model, and hands on the times that it has measured at the model itself."""

    def note(outcome: Outcome, said: Completion, timings: Timings) -> None:  # noqa: ARG001  what a hook is given
        measured.put(timings)

    app = FastAPI()
    app.include_router(llm_router(model, on_finish=note))
    return app


# --- the clients -------------------------------------------------------------------------------


def heading(text: str) -> None:
    """Print what comes next."""
    console.print(f"\n{text}", style="bold", soft_wrap=True)


def show_both_modes(client: openai.OpenAI, model: str, measured: SimpleQueue[Timings]) -> None:
    """Ask for the same answer twice, as a document and as a stream."""
    wanted: Any = {"model": model, "messages": MESSAGES, "temperature": 0, "max_tokens": 8}
    console.print("  batch")
    began = perf_counter()
    batch = client.chat.completions.create(**wanted).choices[0].message.content or ""
    console.print(f"  {1000 * (perf_counter() - began):.0f} ms  [cyan]{escape(batch)}[/]")
    show_timings(measured.get(timeout=10))

    console.print("  stream")
    pieces: list[str] = []
    began = perf_counter()
    for chunk in client.chat.completions.create(**wanted, stream=True):
        piece = chunk.choices[0].delta.content
        if piece:
            pieces.append(piece)
            console.print(f"  {1000 * (perf_counter() - began):.0f} ms  [green]{escape(piece.strip())}[/]")
    show_timings(measured.get(timeout=10))
    console.print(f"  The pieces, joined, are the document: {''.join(pieces) == batch}.")


def show_timings(timings: Timings) -> None:
    """Show the times of an answer, as the server has seen them."""
    first, each = timings.time_to_first_token or 0.0, timings.time_per_output_token or 0.0
    console.print(
        f"  [dim]at the server: first token after {1000 * first:.0f} ms, then one every {1000 * each:.0f} ms, "
        f"{timings.output_tokens} tokens[/]"
    )


def show_other_vendors(url: str) -> None:
    """Ask the same model in the words of others."""
    asks: dict[str, dict[str, Any]] = {
        "/v1/responses": {"input": QUESTION, "max_output_tokens": 3},
        "/v1/messages": {"messages": MESSAGES, "max_tokens": 3},
        "/api/chat": {"messages": MESSAGES, "options": {"num_predict": 3}},
    }
    with httpx2.Client(base_url=url) as client:
        for path, body in asks.items():
            for stream in (False, True):
                answer = client.post(path, json={"model": "simulator", "stream": stream, **body})
                kind = answer.headers["content-type"].partition(";")[0]
                console.print(f"  {path:14}  stream={stream!s:5}  {kind}")


def show_errors(client: openai.OpenAI) -> None:
    """Let the model fail, before its first token and after some."""
    for question in ("Fail at once.", "Fail later."):
        for stream in (False, True):
            received = 0
            try:
                answer: Any = client.chat.completions.create(
                    model="simulator", messages=[{"role": "user", "content": question}], stream=stream
                )
                for chunk in answer:
                    received += bool(chunk.choices[0].delta.content)
            except openai.APIError as error:
                kind, status = type(error).__name__, getattr(error, "status_code", "no status any more")
                console.print(
                    f"  {question:13}  stream={stream!s:5}  after {received} tokens: [red]{kind}[/], {status}"
                )


def asking(url: str) -> openai.OpenAI:
    """Make OpenAI's client, which needs to know nothing but the address. A key is needed, and here any will do."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def main() -> None:
    """Start a server for each model, and ask it."""
    measured: SimpleQueue[Timings] = SimpleQueue()
    with (
        live_server(serving(Simulator(pace=0.02, first_token=0.1, script=script), measured)) as url,
        asking(url) as client,
    ):
        heading("1. OpenAI's client and a simulated model, in both modes")
        show_both_modes(client, "simulator", measured)
        heading("2. The same model in the words of other vendors")
        show_other_vendors(url)
        heading("3. A model that fails. Before the first token the client gets a status, in both modes")
        show_errors(client)

    heading("4. A real model on this machine: SmolLM2 with 135 million parameters, by llama.cpp")
    if LlamaModel.available():
        model = LlamaModel()
        measured = SimpleQueue()
        with live_server(serving(model, measured)) as url, asking(url) as client:
            show_both_modes(client, model.names[0], measured)
    else:
        console.print("  It is not installed. `make local-model` installs it (127 MB).")


if __name__ == "__main__":
    main()
