"""`llm_router`: one model behind the endpoints of all vendors.

Rules:

- The mode is in the body, or else the dialect's default. What `Accept` says does not count: the vendors' clients send
  the same one in both modes.
- Whatever is wrong is told in the vendor's own form: by a status before anything was said, by its last frame after.
- A body is read up to a bound, and no further.
- An answer has a bound, in both modes: a model that does not come to its end is not followed for ever.
- Work ends with its client, in both modes. What is to go on is asked for in the background, and is a run
  (`background.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HTTPRequest
from fastapi.params import Depends
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute

from dual_mode_streaming.errors import ModelNotFound
from dual_mode_streaming.options import Options
from dual_mode_streaming.runs import Runs
from dual_mode_streaming.runs.routes import Owner
from dual_mode_streaming.streams import Streams

from .background import Background, BackgroundAnswer
from .desk import Desk, Endpoint, add_endpoint, route_class
from .dialects import AISDK, ALL, Dialect, OllamaChat, OllamaGenerate, OpenAIChat, OpenAIResponses, dialects_named
from .fold import CompletionFold
from .keys import api_key, owner_by_key
from .models.base import Model
from .serving import OnAnswer
from .shaping import Shape, guard, smooth

__all__ = ["api_key", "guard", "llm_router", "smooth"]

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_ANSWER = 64 * 1024 * 1024


def llm_router(
    model: Model,
    *,
    dialects: Iterable[Dialect | str] = ALL,
    dependencies: Sequence[Depends] = (),
    shape: Sequence[Shape] = (),
    on_finish: OnAnswer | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
    heartbeat: float | None = 15.0,
    commit_after: float = 10.0,
    deadline: float | None = None,
    idle_timeout: float | None = None,
    send_timeout: float | None = 30.0,
    close_timeout: float = 5.0,
    linger: float = 0.0,
    batch_keepalive: bool = False,
    streams: Streams | None = None,
    max_answer: int | None = MAX_ANSWER,
    runs: Runs | None = None,
    max_background: int = 256,
    owner: Owner | None = None,
    resumable_chats: bool = False,
    debug: bool = False,
) -> APIRouter:
    """Make a router that answers the clients of several vendors from one model. Times are in seconds.

    Args:
        model: What answers.
        dialects: The vendors' contracts to serve, or their names.
        dependencies: FastAPI dependencies of every endpoint, such as `Depends(api_key({"secret"}))`. What they raise is
            told in the vendor's form.
        shape: Operators on what the model says, the first one first: `guard(...)`, `smooth(...)` or your own.
        on_finish: Called once for each answer, in both modes, with its outcome, what was said, and the times.
        max_body_bytes: The largest request; one that is larger is answered with 413.
        heartbeat: A stream that was silent for so long gets the vendor's frame that says nothing; None for never.
        commit_after: How long the status waits for the first event or an error.
        deadline: The longest time an answer may take.
        idle_timeout: The longest time the model may be silent.
        send_timeout: The longest time a client may take no byte.
        close_timeout: How long the model may take to stop.
        linger: How long a token may wait for the next one, if the model only gives the event loop a turn in between.
        batch_keepalive: Send white space before a batch that takes longer than `commit_after`.
        streams: The registry that limits, counts and drains open responses; None takes the application's.
        max_answer: The largest answer, in characters of its texts, with 64 more for each event of the model; None for
            no bound. A model that says more is stopped, with the error `answer_too_large`.
        runs: Where answers are kept that go on without their client. With a store that several processes share, each of
            them can give out, go on with and cancel what another one works on. None for the memory of this process.
            Their lifespan is entered by the router.
        max_background: How many answers this process may work on without their clients; one more is refused with 503.
        owner: Says to whom a request belongs, as a plain or an async function. What goes on without its client is shown
            to its owner only. None: to whoever sends the same API key; without a key, to all who know the id.
        resumable_chats: Let answers of the AI SDK go on when the client has left, so that a page that is loaded anew
            gets the rest. They are stopped by a DELETE of the address at which they are resumed, and by the next
            question of the same chat. Chats are named by clients, so give an `owner` where clients send no API key.
        debug: Tell clients the texts of unexpected errors.

    Raises:
        ValueError: There is no dialect of a name, or an option is out of its range.
    """
    options = Options(
        fold=CompletionFold(),
        heartbeat=heartbeat,
        commit_after=commit_after,
        deadline=deadline,
        idle_timeout=idle_timeout,
        send_timeout=send_timeout,
        close_timeout=close_timeout,
        linger=linger,
        batch_keepalive=batch_keepalive,
        max_item_bytes=None,
        batch_max_items=None,  # `max_answer` bounds both modes
        streams=streams,
        debug=debug,
    )
    kept = Runs(close_timeout=close_timeout, debug=debug) if runs is None else runs
    background = Background(kept, on_finish, most=max_background)
    desk = Desk(model, options, tuple(shape), on_finish, max_body_bytes, max_answer, owner or owner_by_key, background)
    router = APIRouter(dependencies=list(dependencies), lifespan=kept.lifespan, tags=["language models"])
    served = _dialects(dialects)
    for dialect in served:
        route = route_class(dialect, debug)
        if isinstance(dialect, OpenAIResponses):
            _add_responses(router, route, desk, dialect)
        elif isinstance(dialect, AISDK):
            _add_ai_sdk(router, route, desk, dialect, resumable=resumable_chats)
        else:
            add_endpoint(router, route, dialect.path, _answering(desk, dialect), stream_type=dialect.media_type)
    _add_models(router, model, served, debug)
    return router


def _answering(desk: Desk, dialect: Dialect) -> Endpoint:
    async def answer(http: HTTPRequest) -> Response:
        return desk.answer(await desk.asked(http, dialect))

    return answer


def _add_responses(router: APIRouter, route: type[APIRoute], desk: Desk, dialect: OpenAIResponses) -> None:
    """Add the endpoints of OpenAI Responses, those for work in the background as well."""

    async def shown(answer: BackgroundAnswer) -> Response:
        asking, state = answer.asking, await answer.state()
        if state.status == "completed":
            return JSONResponse(dialect.batch(state.completion, asking.request, asking.stamp))
        return JSONResponse(
            dialect.response(state.status, asking.request, asking.stamp, state.completion, state.problem)
        )

    async def found(http: HTTPRequest) -> BackgroundAnswer:
        _, _, run_id = http.path_params["response_id"].partition("resp_")
        return await desk.background.find(dialect, run_id, await desk.owner_of(http))

    def followed(answer: BackgroundAnswer, starting_after: int | None) -> Response:
        renderer = dialect.renderer(answer.asking.request, answer.asking.stamp, starting_after=starting_after)
        return desk.follow(answer, renderer, resumes=starting_after is not None)

    async def answer(http: HTTPRequest) -> Response:
        asking = await desk.asked(http, dialect)
        if not asking.request.background:
            return desk.answer(asking)
        begun = await desk.begin(asking, http)
        if asking.request.stream:
            return followed(begun, None)
        return JSONResponse(dialect.response("queued", begun.asking.request, begun.asking.stamp))

    async def retrieve(http: HTTPRequest) -> Response:
        wanted = dialect.parse_retrieval(http.query_params)
        answer = await found(http)
        return followed(answer, wanted.starting_after) if wanted.stream else await shown(answer)

    async def cancel(http: HTTPRequest) -> Response:
        answer = await found(http)
        await answer.cancel()
        return await shown(answer)

    kind = dialect.media_type
    add_endpoint(router, route, dialect.path, answer, stream_type=kind)
    add_endpoint(router, route, f"{dialect.path}/{{response_id}}", retrieve, "GET", stream_type=kind)
    add_endpoint(router, route, f"{dialect.path}/{{response_id}}/cancel", cancel)


def _add_ai_sdk(router: APIRouter, route: type[APIRoute], desk: Desk, dialect: AISDK, *, resumable: bool) -> None:
    """Add the endpoints of the AI SDK. A page that is loaded anew asks whether an answer is still under way."""

    async def answer(http: HTTPRequest) -> Response:
        asking = await desk.asked(http, dialect)
        chat = asking.request.body.get("id")
        if not (resumable and asking.request.stream and isinstance(chat, str) and chat):
            return desk.answer(asking)
        return desk.follow(await desk.begin(asking, http, f"chat {chat}"))

    async def under_way(http: HTTPRequest) -> BackgroundAnswer | None:
        if not resumable:
            return None
        return await desk.background.named(dialect, f"chat {http.path_params['chat_id']}", await desk.owner_of(http))

    async def resume(http: HTTPRequest) -> Response:
        answer = await under_way(http)
        return Response(status_code=204) if answer is None else desk.follow(answer, resumes=True)

    async def stop(http: HTTPRequest) -> Response:
        answer = await under_way(http)
        if answer is not None:
            await answer.cancel()
        return Response(status_code=204)

    kind, place = dialect.media_type, f"{dialect.path}/{{chat_id}}/stream"
    add_endpoint(router, route, dialect.path, answer, stream_type=kind)
    add_endpoint(router, route, place, resume, "GET", stream_type=kind, may_be_empty=True)
    add_endpoint(router, route, place, stop, "DELETE", may_be_empty=True)


def _add_models(router: APIRouter, model: Model, dialects: Sequence[Dialect], debug: bool) -> None:
    """Add the lists of models. One document suits the clients of OpenAI and of Anthropic; Ollama has its own."""

    def described(name: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": "local",
            "type": "model",
            "display_name": name,
            "created_at": "1970-01-01T00:00:00Z",
        }

    async def models(http: HTTPRequest) -> Response:  # noqa: ARG001  what an endpoint is given
        names = list(model.names)
        ends = {"first_id": names[0], "last_id": names[-1]} if names else {"first_id": None, "last_id": None}
        return JSONResponse({"object": "list", "data": [described(name) for name in names], "has_more": False, **ends})

    async def one(http: HTTPRequest) -> Response:
        name = http.path_params["name"]
        if name not in model.names:
            raise ModelNotFound(name)
        return JSONResponse(described(name))

    async def tags(http: HTTPRequest) -> Response:  # noqa: ARG001
        of_ollama = {"modified_at": "1970-01-01T00:00:00Z", "size": 0, "digest": "", "details": {}}
        return JSONResponse({"models": [{"name": name, "model": name, **of_ollama} for name in model.names]})

    route = route_class(OpenAIChat(), debug)
    add_endpoint(router, route, "/v1/models", models, "GET")
    add_endpoint(router, route, "/v1/models/{name:path}", one, "GET")
    if any(isinstance(dialect, (OllamaChat, OllamaGenerate)) for dialect in dialects):
        add_endpoint(router, route_class(OllamaChat(), debug), "/api/tags", tags, "GET")


def _dialects(given: Iterable[Dialect | str]) -> list[Dialect]:
    served: list[Dialect] = []
    for one in given:
        served += dialects_named([one]) if isinstance(one, str) else [one]
    return served
