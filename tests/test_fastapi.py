"""Under FastAPI: an endpoint keeps all that FastAPI gives it, and its document tells both modes."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Body, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.testclient import TestClient
from openapi_spec_validator import OpenAPIV31SpecValidator, OpenAPIV32SpecValidator
from pydantic import BaseModel, Field, create_model
from starlette.websockets import WebSocketDisconnect

from asgi import Call
from dual_mode_streaming import DualModeResponse, ServerSentEvent, concat, dual_mode, last, to_list
from dual_mode_streaming.errors import InvalidStreamFlag, NotAcceptable, StreamAborted
from dual_mode_streaming.fastapi import DualModeRoute

BATCH = "application/json"
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
JSON_LINES = "application/jsonl"
JSON_SEQ = "application/json-seq"
STREAMS = [SSE, NDJSON, JSON_LINES, JSON_SEQ]
TYPES = [BATCH, *STREAMS]
MODES = [BATCH, SSE, NDJSON]

each_mode = pytest.mark.parametrize("accept", MODES)


class Row(BaseModel):
    n: int


def make_app(route_class=DualModeRoute, **options):
    app = FastAPI(**options)
    if route_class is not None:
        app.router.route_class = route_class
    return app


def ask(app, path="/", accept=BATCH, method="GET", **options):
    """One request by a client, as Starlette's tests do it. An exception of the application is a 500 here."""
    with TestClient(app, raise_server_exceptions=False) as client:
        return client.request(method, path, headers={"accept": accept, **options.pop("headers", {})}, **options)


def items_of(answer):
    """Read the items of an answer, whatever its mode."""
    kind = answer.headers["content-type"].partition(";")[0]
    if kind == BATCH:
        return answer.json()["data"]
    if kind == SSE:
        blocks = [block for block in answer.text.split("\n\n") if block and "event: done" not in block]
        return [json.loads(line[6:]) for block in blocks for line in block.splitlines() if line.startswith("data: ")]
    return [json.loads(line.strip("\x1e")) for line in answer.text.removesuffix("\n").split("\n")]


# --- FastAPI must not see the generator ----------------------------------------------------------


@pytest.mark.parametrize("route_class", [None, DualModeRoute], ids=["APIRoute", "DualModeRoute"])
@pytest.mark.parametrize("accept", TYPES)
def test_accept_chooses_the_mode_of_a_generator(route_class, accept):
    """FastAPI streams a generator as JSON Lines, whatever `Accept` says, if it finds one."""
    app = make_app(route_class)

    @app.get("/")
    @dual_mode
    async def rows(n: int) -> AsyncIterator[Row]:
        yield Row(n=n)
        yield Row(n=n + 1)

    answer = ask(app, "/?n=1", accept)
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == accept
    assert items_of(answer) == [{"n": 1}, {"n": 2}]


def test_parameters_of_every_kind_reach_the_generator():
    app = make_app()

    def user(request: Request) -> str:
        return request.headers["user"]

    @app.post("/{shelf}")
    @dual_mode
    async def rows(
        shelf: str,
        row: Row,
        request: Request,
        who: Annotated[str, Depends(user)],
        limit: Annotated[int, Query(le=5)] = 3,
    ) -> AsyncIterator[Any]:
        yield [shelf, row.n, request.method, who, limit]

    answer = ask(app, "/top", method="POST", json={"n": 7}, headers={"user": "ada"})
    assert answer.json() == {"data": [["top", 7, "POST", "ada", 3]]}


def test_a_sync_generator():
    app = make_app()

    @app.get("/")
    @dual_mode(fold=to_list)
    def rows(count: int):
        yield from range(count)

    assert ask(app, "/?count=3").json() == [0, 1, 2]


def test_a_finished_response_instead_of_items():
    app = make_app()

    @app.get("/")
    @dual_mode
    async def rows():
        return PlainTextResponse("nothing new", 304)

    assert ask(app, accept=SSE).status_code == 304


# --- dependencies --------------------------------------------------------------------------------


@pytest.mark.asyncio
@each_mode
async def test_a_dependency_with_yield_stays_open_to_the_end_of_the_stream(accept):
    order = []

    async def session():
        order.append("open session")
        yield "session"
        order.append("close session")

    app = make_app()

    @app.get("/")
    @dual_mode(on_finish=lambda outcome, partial: order.append(f"finish {outcome.value}"))
    async def rows(session: Annotated[str, Depends(session)]):
        try:
            for n in range(2):
                order.append(f"item {n}")
                yield n
        finally:
            order.append("close source")

    await Call(app, headers={"accept": accept}).run()
    assert order == ["open session", "item 0", "item 1", "close source", "finish done", "close session"]


@pytest.mark.asyncio
@each_mode
async def test_a_dependency_with_yield_is_closed_when_the_client_leaves(accept):
    order = []

    async def session():
        order.append("open")
        try:
            yield
        finally:
            order.append("close session")

    app = make_app()

    @app.get("/", dependencies=[Depends(session)])
    @dual_mode
    async def rows():
        try:
            yield 1
            call.leave()
            await never()
        finally:
            order.append("close source")

    call = Call(app, headers={"accept": accept})
    await call.run()
    assert order == ["open", "close source", "close session"]


async def never():
    await asyncio.Event().wait()


@pytest.mark.asyncio
@each_mode
async def test_a_dependency_with_yield_sees_the_error_of_the_source(accept):
    seen = []

    async def session():
        try:
            yield
        except LookupError as error:
            seen.append(str(error))
            raise

    app = make_app()

    @app.get("/", dependencies=[Depends(session)])
    @dual_mode
    async def rows():
        raise LookupError("gone")
        yield

    with pytest.raises(LookupError):
        await Call(app, headers={"accept": accept}).run()
    assert seen == ["gone"]


@each_mode
def test_a_dependency_can_be_overridden(accept):
    app = make_app()

    def real():
        pytest.fail("the real dependency ran")

    @app.get("/")
    @dual_mode
    async def rows(value: Annotated[str, Depends(real)]):
        yield value

    app.dependency_overrides[real] = lambda: "stand-in"
    assert items_of(ask(app, accept=accept)) == ["stand-in"]


# --- background tasks ----------------------------------------------------------------------------


async def ends_well():
    yield 1


async def fails_late():
    yield 1
    await asyncio.sleep(0)
    raise LookupError("gone")


async def fails_with_our_own_error():
    yield object()


async def is_left_by_its_client():
    yield 1
    await never()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("source", "accept", "status"),
    [
        (ends_well, BATCH, 200),
        (ends_well, SSE, 200),
        (ends_well, NDJSON, 200),
        (ends_well, "image/png", 406),
        (fails_late, SSE, 200),
        (fails_late, NDJSON, 200),
        (fails_with_our_own_error, BATCH, 500),
        (fails_with_our_own_error, SSE, 500),
        (is_left_by_its_client, BATCH, 499),
        (is_left_by_its_client, SSE, 200),
        (is_left_by_its_client, NDJSON, 200),
    ],
)
async def test_background_tasks_run_in_every_outcome_that_had_a_response(source, accept, status):
    order = []
    app = make_app()

    @app.get("/")
    @dual_mode
    async def rows(tasks: BackgroundTasks):
        tasks.add_task(order.append, "background")
        return source()

    call = Call(app, headers={"accept": accept}).begin()
    if source is is_left_by_its_client:
        if accept != BATCH:
            await call.until_body_has(b"1")
        call.leave()
    try:
        await call.end()
    except StreamAborted:
        order.append("aborted")
    assert call.status == status
    assert order in (["background"], ["background", "aborted"])
    assert ("aborted" in order) is ((source, accept) == (fails_late, NDJSON))


@pytest.mark.asyncio
@each_mode
async def test_background_tasks_do_not_run_if_the_application_answers_an_error(accept):
    """So it is on every endpoint of FastAPI: there is no response that the tasks could belong to."""
    ran = []
    app = make_app()

    @app.get("/")
    @dual_mode
    async def rows(tasks: BackgroundTasks):
        tasks.add_task(ran.append, 1)
        return raises()

    async def raises():
        raise HTTPException(404)
        yield

    assert (await Call(app, headers={"accept": accept}).run()).status == 404
    assert ran == []


# --- status and headers --------------------------------------------------------------------------


@pytest.mark.parametrize("route_class", [None, DualModeRoute], ids=["APIRoute", "DualModeRoute"])
@each_mode
def test_the_response_parameter_sets_status_headers_and_cookies_before_the_first_item(accept, route_class):
    app = make_app(route_class)

    @app.get("/")
    @dual_mode
    async def rows(response: Response):
        response.status_code = 203
        response.headers["x-total"] = "1"
        response.headers["vary"] = "Cookie"
        response.headers["content-type"] = "text/plain"
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        yield 1

    answer = ask(app, accept=accept)
    assert answer.status_code == 203
    assert answer.headers["x-total"] == "1"
    assert answer.headers["vary"] == "Cookie, Accept"
    assert answer.headers["content-type"].partition(";")[0] == accept, "a body has one type, and the mode decides it"
    assert dict(answer.cookies) == {"a": "1", "b": "2"}
    assert items_of(answer) == [1]


@each_mode
def test_what_dependencies_set_reaches_the_answer(accept):
    app = make_app()

    def limits(response: Response):
        response.headers["x-limit"] = "9"
        response.set_cookie("seen", "yes")
        response.status_code = 202

    @app.get("/", dependencies=[Depends(limits)])
    @dual_mode
    async def rows():
        yield 1

    answer = ask(app, accept=accept)
    assert (answer.status_code, answer.headers["x-limit"], dict(answer.cookies)) == (202, "9", {"seen": "yes"})


@each_mode
def test_the_status_of_the_route(accept):
    app = make_app()

    @app.post("/", status_code=201)
    @dual_mode
    async def rows():
        yield 1

    assert ask(app, accept=accept, method="POST").status_code == 201


@each_mode
def test_the_status_that_the_endpoint_sets_wins_over_the_routes(accept):
    app = make_app()

    @app.post("/", status_code=201)
    @dual_mode
    async def rows(response: Response):
        response.status_code = 202
        yield 1

    assert ask(app, accept=accept, method="POST").status_code == 202


@each_mode
def test_the_status_of_an_included_route(accept):
    router = APIRouter(route_class=DualModeRoute, prefix="/inner")

    @router.post("/rows", status_code=201)
    @dual_mode
    async def rows():
        yield 1

    app = make_app()
    app.include_router(router, prefix="/outer")
    answer = ask(app, "/outer/inner/rows", accept, "POST")
    assert (answer.status_code, items_of(answer)) == (201, [1])


# --- HEAD ----------------------------------------------------------------------------------------


def ran_nowhere():
    pytest.fail("HEAD ran the source")
    yield


@pytest.mark.parametrize("accept", TYPES)
def test_head_on_a_get_route(accept):
    app = make_app()

    @app.get("/")
    @dual_mode
    async def rows(response: Response):
        response.headers["x-total"] = "0"
        return ran_nowhere()

    answer = ask(app, accept=accept, method="HEAD")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].partition(";")[0] == accept
    assert answer.headers["x-total"] == "0"
    assert answer.headers["vary"] == "Accept"


def test_head_on_a_route_of_an_included_router():
    router = APIRouter(route_class=DualModeRoute)

    @router.get("/rows")
    @dual_mode
    async def rows():
        return ran_nowhere()

    app = make_app(None)
    app.include_router(router, prefix="/api")
    answer = ask(app, "/api/rows", SSE, "HEAD")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


def test_without_the_route_class_fastapi_answers_405():
    app = make_app(None)

    @app.get("/")
    @dual_mode
    async def rows():
        return ran_nowhere()

    assert ask(app, method="HEAD").status_code == 405


def test_head_on_a_route_that_has_no_get_is_405():
    app = make_app()

    @app.post("/")
    @dual_mode
    async def rows():
        return ran_nowhere()

    assert ask(app, method="HEAD").status_code == 405


def test_an_error_is_the_same_for_head():
    app = make_app()

    @app.get("/")
    @dual_mode
    async def rows():
        return ran_nowhere()

    assert ask(app, accept="image/png", method="HEAD").status_code == 406
    assert ask(app, "/?stream=maybe", method="HEAD").status_code == 422


# --- without the decorator -----------------------------------------------------------------------


@pytest.mark.asyncio
@each_mode
async def test_a_generator_with_response_class_is_closed_before_the_response_returns(accept):
    order = []
    app = make_app(None)

    @app.get("/", response_class=DualModeResponse)
    async def rows():
        try:
            yield 1
            yield 2
        finally:
            order.append("closed")

    call = await Call(app, headers={"accept": accept}).run()
    order.append("returned")
    assert call.headers["content-type"].partition(";")[0] == accept
    assert order == ["closed", "returned"]


@pytest.mark.asyncio
@each_mode
async def test_a_generator_with_response_class_is_closed_when_its_client_leaves(accept):
    order = []
    app = make_app(None)

    @app.get("/", response_class=DualModeResponse)
    async def rows():
        try:
            yield 1
            call.leave()
            await never()
        finally:
            order.append("closed")

    call = Call(app, headers={"accept": accept})
    await call.run()
    order.append("returned")
    assert order == ["closed", "returned"]


@pytest.mark.asyncio
@each_mode
async def test_a_generator_with_response_class_is_closed_when_an_item_breaks_the_stream(accept):
    """It hangs at a `yield` then, inside a generator of FastAPI's that would leave it to the garbage collector."""
    order = []
    app = make_app(None)

    @app.get("/", response_class=DualModeResponse)
    async def rows():
        try:
            yield object()
        finally:
            await asyncio.sleep(0)
            order.append("closed")

    assert (await Call(app, headers={"accept": accept}).run()).status == 500
    order.append("returned")
    assert order == ["closed", "returned"]


@each_mode
def test_a_sync_generator_with_response_class(accept):
    app = make_app(None)

    @app.get("/", response_class=DualModeResponse, status_code=201)
    def rows():
        yield 1
        yield 2

    answer = ask(app, accept=accept)
    assert (answer.status_code, items_of(answer)) == (201, [1, 2])


class Job:
    def __init__(self, count):
        self.count = count

    async def __aiter__(self):
        for n in range(self.count):
            yield Row(n=n)


@each_mode
def test_a_class_with_aiter_in_a_response(accept):
    app = make_app(None)

    @app.get("/")
    async def rows(count: int) -> Any:
        return DualModeResponse(Job(count), headers={"x-job": "1"})

    answer = ask(app, "/?count=2", accept)
    assert items_of(answer) == [{"n": 0}, {"n": 1}]
    assert answer.headers["x-job"] == "1"


# --- errors of the application -------------------------------------------------------------------


class Teapot(Exception):
    pass


def app_with_errors():
    app = make_app()

    @app.exception_handler(Teapot)
    async def short_and_stout(request, error):
        return JSONResponse({"teapot": str(error)}, 418)

    async def fails(error):
        raise error
        yield

    @app.get("/http")
    @dual_mode
    async def http():
        return fails(HTTPException(404, {"row": 5}, {"x-reason": "gone"}))

    @app.get("/teapot")
    @dual_mode
    async def teapot():
        return fails(Teapot("short"))

    @app.get("/in-the-function")
    @dual_mode
    async def in_the_function():
        raise Teapot("stout")

    @app.get("/in-a-dependency")
    @dual_mode
    async def in_a_dependency(_: Annotated[None, Depends(refuse)]):
        yield 1

    @app.get("/validation")
    @dual_mode
    async def validation(n: int):
        yield n

    @app.get("/unexpected")
    @dual_mode
    async def unexpected():
        return fails(LookupError("secret"))

    return app


def refuse():
    raise HTTPException(401, headers={"www-authenticate": "Basic"})


@each_mode
@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/http", 404, {"detail": {"row": 5}}),
        ("/teapot", 418, {"teapot": "short"}),
        ("/in-the-function", 418, {"teapot": "stout"}),
        ("/in-a-dependency", 401, {"detail": "Unauthorized"}),
    ],
)
def test_an_exception_is_answered_by_the_application_in_every_mode(path, status, body, accept):
    answer = ask(app_with_errors(), path, accept)
    assert (answer.status_code, answer.headers["content-type"], answer.json()) == (status, BATCH, body)


@each_mode
def test_the_headers_of_an_http_exception_are_kept(accept):
    assert ask(app_with_errors(), "/http", accept).headers["x-reason"] == "gone"
    assert ask(app_with_errors(), "/in-a-dependency", accept).headers["www-authenticate"] == "Basic"


@each_mode
def test_a_request_that_is_not_valid_is_fastapis_own_affair(accept):
    answer = ask(app_with_errors(), "/validation?n=five", accept)
    assert (answer.status_code, answer.headers["content-type"]) == (422, BATCH)
    assert answer.json()["detail"][0]["loc"] == ["query", "n"]


@each_mode
def test_the_handler_for_validation_errors_is_the_applications(accept):
    app = app_with_errors()
    app.add_exception_handler(RequestValidationError, lambda request, error: PlainTextResponse("no", 400))
    answer = ask(app, "/validation?n=five", accept)
    assert (answer.status_code, answer.text) == (400, "no")


@each_mode
def test_an_unexpected_exception_is_a_plain_500(accept):
    answer = ask(app_with_errors(), "/unexpected", accept)
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")


@pytest.mark.parametrize(
    ("path", "accept", "error"), [("/", "image/png", NotAcceptable), ("/?stream=maybe", BATCH, InvalidStreamFlag)]
)
def test_our_own_errors_can_be_handled_by_the_application(path, accept, error):
    def app(**options):
        made = make_app(**options)

        @made.get("/")
        @dual_mode
        async def rows():
            yield 1

        return made

    unhandled = ask(app(), path, accept)
    assert (unhandled.status_code, unhandled.headers["content-type"]) == (int(error.status), "application/problem+json")
    handlers = {error: lambda request, error: PlainTextResponse(error.code, 400)}
    handled = ask(app(exception_handlers=handlers), path, accept)
    assert (handled.status_code, handled.text) == (400, error.code)


# --- WebSockets ----------------------------------------------------------------------------------


def test_a_websocket_to_a_dual_mode_route_finds_nothing():
    app = make_app()

    @app.get("/")
    @dual_mode
    async def rows():
        yield 1

    with TestClient(app) as client, pytest.raises(WebSocketDisconnect), client.websocket_connect("/"):
        pass


def test_a_websocket_to_a_response_is_refused_with_a_problem():
    app = FastAPI()
    app.mount("/rows", DualModeResponse([1]))
    with TestClient(app) as client, pytest.raises(WebSocketDisconnect) as caught, client.websocket_connect("/rows/"):
        pass
    assert caught.value.status_code == 400
    assert caught.value.headers["content-type"] == "application/problem+json"
    assert caught.value.json()["code"] == "not_a_websocket"


# --- the OpenAPI document ------------------------------------------------------------------------

VERSIONS = {"3.1.0": (OpenAPIV31SpecValidator, "x-itemSchema"), "3.2.0": (OpenAPIV32SpecValidator, "itemSchema")}
each_version = pytest.mark.parametrize("version", VERSIONS)


def document(app, version="3.1.0"):
    """The document of an application, after a validator has seen it and every reference has been followed."""
    app.openapi_version = version
    made = json.loads(json.dumps(app.openapi()))
    validator, _ = VERSIONS[version]
    validator(made).validate()
    for reference in references(made):
        assert resolved(made, {"$ref": reference}) is not None
    return made


def references(part):
    if isinstance(part, dict):
        yield from (value for key, value in part.items() if key == "$ref")
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def resolved(made, schema):
    """Follow a schema's references at its top; what stands beside a reference is kept."""
    while "$ref" in schema:
        target = made
        for step in schema["$ref"].removeprefix("#/").split("/"):
            assert step in target, f"{schema['$ref']} leads nowhere"
            target = target[step]
        schema = {**{key: value for key, value in schema.items() if key != "$ref"}, **target}
    return schema


def item_schemas(made, path="/", method="get", status="200", version="3.1.0"):
    """The schema of an item for each stream type, references followed."""
    content = made["paths"][path][method]["responses"][status]["content"]
    _, keyword = VERSIONS[version]
    found = {}
    for kind in set(content) - {BATCH}:
        # In OpenAPI 3.2 a schema beside that of the items would be one of the array of all items.
        assert content[kind].get("schema") == ({"type": "string"} if version == "3.1.0" else None)
        schema, *others = content[kind][keyword]["anyOf"]
        if kind == SSE:
            assert [other["properties"]["event"] for other in others] == [
                {"const": name} for name in ("done", "error", "gap")
            ]
            assert schema["required"] == ["data"]
            assert set(schema["properties"]) == {"data", "event", "id", "retry"}
            data = schema["properties"]["data"]
            assert (data["type"], data["contentMediaType"]) == ("string", "application/json")
            schema = data["contentSchema"]
        else:
            assert [other["required"] for other in others] == [["data"], ["error"]]
            assert others[0]["properties"]["data"] == schema
        found[kind] = resolved(made, schema)
    return found


def only(found):
    """The one schema that all stream types have."""
    first, *others = found.values()
    assert set(found) == set(STREAMS)
    assert all(other == first for other in others)
    return {key: value for key, value in first.items() if key != "title"}


ROW = {"type": "object", "properties": {"n": {"type": "integer", "title": "N"}}, "required": ["n"]}


@each_version
def test_one_operation_lists_all_media_types_with_their_schemas(version):
    app = make_app()

    @app.get("/")
    @dual_mode(fold=to_list)
    async def rows() -> AsyncIterator[Row | ServerSentEvent]:
        yield Row(n=1)

    made = document(app, version)
    content = made["paths"]["/"]["get"]["responses"]["200"]["content"]
    assert list(content) == TYPES
    batch = resolved(made, content[BATCH]["schema"])
    assert batch["type"] == "array"
    assert without_title(resolved(made, batch["items"])) == ROW
    assert only(item_schemas(made, version=version)) == ROW


def without_title(schema):
    return {key: value for key, value in schema.items() if key != "title"}


def test_the_stream_parameter_and_the_errors():
    app = make_app()

    @app.get("/")
    @dual_mode
    async def rows() -> AsyncIterator[Row]:
        yield Row(n=1)

    operation = document(app)["paths"]["/"]["get"]
    (parameter,) = operation["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("stream", "query", False)
    assert parameter["schema"] == {"type": "boolean"}
    assert set(operation["responses"]) == {"200", "406", "422", "default"}
    for status in ("406", "422", "default"):
        content = dict(operation["responses"][status]["content"])
        assert set(content.pop("application/problem+json")["schema"]["required"]) == {"type", "title", "status", "code"}
        # What an endpoint raises as an `HTTPException` is answered by FastAPI itself, in its own form.
        assert content.keys() == ({"application/json"} if status == "default" else set())


def test_the_validation_errors_of_fastapi_stay_beside_ours():
    app = make_app()

    @app.get("/")
    @dual_mode
    async def rows(n: int) -> AsyncIterator[Row]:
        yield Row(n=n)

    operation = document(app)["paths"]["/"]["get"]
    assert [parameter["name"] for parameter in operation["parameters"]] == ["n", "stream"]
    assert set(operation["responses"]["422"]["content"]) == {"application/json", "application/problem+json"}


@pytest.mark.parametrize(
    ("options", "types", "parameters", "statuses"),
    [
        ({}, TYPES, ["stream"], {"200", "406", "422", "default"}),
        ({"stream_param": "live"}, TYPES, ["live"], {"200", "406", "422", "default"}),
        ({"stream_param": None}, TYPES, [], {"200", "406", "default"}),
        ({"mode": "batch"}, [BATCH], [], {"200", "default"}),
        ({"mode": "stream"}, STREAMS, [], {"200", "default"}),
    ],
)
def test_the_document_says_what_the_options_allow(options, types, parameters, statuses):
    app = make_app()

    @app.get("/")
    @dual_mode(**options)
    async def rows() -> AsyncIterator[Row]:
        yield Row(n=1)

    operation = document(app)["paths"]["/"]["get"]
    assert sorted(operation["responses"]["200"]["content"]) == sorted(types)
    assert [parameter["name"] for parameter in operation.get("parameters", ())] == parameters
    assert set(operation["responses"]) == statuses


def test_a_stream_parameter_of_the_authors_own_is_documented_once():
    app = make_app()

    @app.get("/")
    @dual_mode
    async def rows(stream: bool | None = None) -> AsyncIterator[Row]:
        yield Row(n=1)

    parameters = document(app)["paths"]["/"]["get"]["parameters"]
    assert [parameter["name"] for parameter in parameters] == ["stream"]


class Tree(BaseModel):
    name: str
    children: list["Tree"] = []


class Cat(BaseModel):
    kind: str = "cat"


@each_version
@pytest.mark.parametrize(
    ("item_type", "check"),
    [
        (Tree, lambda schema: schema["properties"]["children"]["items"]["$ref"].endswith("/Tree")),
        (int, lambda schema: schema["type"] == "integer"),
        (str, lambda schema: schema["type"] == "string"),
        (dict[str, int], lambda schema: schema["additionalProperties"] == {"type": "integer"}),
        (list[Row], lambda schema: schema["items"]["$ref"].endswith("/Row")),
        (Row | Cat, lambda schema: [one["$ref"].split("/")[-1] for one in schema["anyOf"]] == ["Row", "Cat"]),
        (Row | None, lambda schema: schema["anyOf"][1] == {"type": "null"}),
        (Annotated[int, Field(ge=0)], lambda schema: schema["minimum"] == 0),
        (Any, lambda schema: schema == {}),
    ],
    ids=str,
)
def test_item_types_of_every_kind(item_type, check, version):
    app = make_app()

    @app.get("/")
    @dual_mode
    async def rows() -> AsyncIterator[item_type]:
        yield

    schema = only(item_schemas(document(app, version), version=version))
    assert check(schema), schema


def test_an_endpoint_without_an_item_type():
    app = make_app()

    @app.get("/")
    @dual_mode
    async def rows():
        yield 1

    made = document(app)
    assert only(item_schemas(made)) == {}
    batch = resolved(made, made["paths"]["/"]["get"]["responses"]["200"]["content"][BATCH]["schema"])
    assert batch["properties"]["data"]["type"] == "array"


@pytest.mark.parametrize(
    ("fold", "expected"),
    [
        (last, ROW),
        (concat("n"), {"type": "string"}),
        (lambda items: items, {}),
    ],
    ids=["last", "concat", "lambda"],
)
def test_the_batch_schema_is_that_of_the_fold(fold, expected):
    app = make_app()

    @app.get("/")
    @dual_mode(fold=fold)
    async def rows() -> AsyncIterator[Row]:
        yield Row(n=1)

    made = document(app)
    schema = made["paths"]["/"]["get"]["responses"]["200"]["content"][BATCH]["schema"]
    assert without_title(resolved(made, schema)) == expected


def test_the_response_model_of_the_author_wins():
    app = make_app()

    @app.get("/", response_model=Cat)
    @dual_mode
    async def rows() -> AsyncIterator[Row]:
        yield Row(n=1)

    made = document(app)
    schema = made["paths"]["/"]["get"]["responses"]["200"]["content"][BATCH]["schema"]
    assert schema["$ref"].endswith("/Cat")


def test_a_recursive_item_in_a_batch():
    app = make_app()

    @app.get("/")
    @dual_mode(fold=last)
    async def trees() -> AsyncIterator[Tree]:
        yield Tree(name="a")

    made = document(app)
    schema = made["paths"]["/"]["get"]["responses"]["200"]["content"][BATCH]["schema"]
    assert resolved(made, schema)["properties"]["children"]["items"] == {"$ref": "#/components/schemas/Tree"}


def two_rows():
    """Two models of one name, as if from two modules."""
    return (
        create_model("Line", __module__="books", n=(int, ...)),
        create_model("Line", __module__="music", text=(str, ...)),
    )


@each_version
def test_item_models_of_one_name_in_two_modules(version):
    books, music = two_rows()
    app = make_app()

    @app.get("/books")
    @dual_mode
    async def read_books() -> AsyncIterator[books]:
        yield

    @app.get("/music")
    @dual_mode
    async def read_music() -> AsyncIterator[music]:
        yield

    made = document(app, version)
    for path, field in (("/books", "n"), ("/music", "text")):
        assert list(only(item_schemas(made, path, version=version))["properties"]) == [field]
        schema = made["paths"][path]["get"]["responses"]["200"]["content"][BATCH]["schema"]
        line = resolved(made, resolved(made, schema)["properties"]["data"]["items"])
        assert list(line["properties"]) == [field]


def test_an_item_model_that_is_a_body_as_well():
    """FastAPI then writes one schema for what comes in and another for what goes out."""

    class Both(BaseModel):
        n: int = 1

    app = make_app()

    @app.post("/")
    @dual_mode
    async def echo(both: Annotated[Both, Body()]) -> AsyncIterator[Both]:
        yield both

    made = document(app)
    assert only(item_schemas(made, method="post"))["properties"]["n"]["type"] == "integer"
    assert "requestBody" in made["paths"]["/"]["post"]


@each_version
def test_a_router_that_is_included(version):
    router = APIRouter(route_class=DualModeRoute, prefix="/inner")

    @router.get("/rows")
    @dual_mode
    async def rows() -> AsyncIterator[Row]:
        yield Row(n=1)

    app = make_app(None)
    app.include_router(router, prefix="/one")
    app.include_router(router, prefix="/two")
    made = document(app, version)
    for path in ("/one/inner/rows", "/two/inner/rows"):
        assert only(item_schemas(made, path, version=version)) == ROW
        assert [p["name"] for p in made["paths"][path]["get"]["parameters"]] == ["stream"]


def test_functions_of_one_name_in_two_routers():
    """Their routes have one id until the routers are included under two prefixes."""
    app = make_app(None)
    for prefix, item_type in (("/books", int), ("/music", str)):
        router = APIRouter(route_class=DualModeRoute)

        @router.get("/")
        @dual_mode
        async def read() -> AsyncIterator[item_type]:
            yield

        app.include_router(router, prefix=prefix)

    made = document(app)
    assert only(item_schemas(made, "/books/")) == {"type": "integer"}
    assert only(item_schemas(made, "/music/")) == {"type": "string"}


def test_routes_with_several_methods_or_another_status():
    app = make_app()

    @app.api_route("/", methods=["PUT", "PATCH"], status_code=201, operation_id="change")
    @dual_mode
    async def rows() -> AsyncIterator[Row]:
        yield Row(n=1)

    with pytest.warns(UserWarning, match="Duplicate Operation ID"):
        made = app.openapi()
    for method in ("put", "patch"):
        assert only(item_schemas(made, method=method, status="201")) == ROW
        assert "200" not in made["paths"]["/"][method]["responses"]


def test_head_is_not_listed():
    app = make_app()

    @app.get("/")
    @dual_mode
    async def rows():
        yield 1

    assert list(document(app)["paths"]["/"]) == ["get"]


def test_an_endpoint_without_the_decorator_is_documented_as_ever():
    def add_to(app):
        @app.get("/", responses={404: {"description": "None"}}, openapi_extra={"x-mine": 1})
        async def plain(n: int) -> Row:
            return Row(n=n)

        return document(app)

    assert add_to(make_app()) == add_to(make_app(None))


def test_what_the_author_adds_wins_and_is_merged():
    app = make_app()
    extra = {
        "x-mine": {"a": 1},
        "parameters": [{"name": "x", "in": "header", "schema": {"type": "string"}}],
        "responses": {
            "406": {"description": "Mine"},
            "200": {"content": {NDJSON: {"example": '{"n":1}'}, "text/csv": {"schema": {"type": "string"}}}},
            "429": {"description": "Slow down"},
        },
    }

    @app.get("/", openapi_extra=extra)
    @dual_mode
    async def rows() -> AsyncIterator[Row]:
        yield Row(n=1)

    made = document(app)
    operation = made["paths"]["/"]["get"]
    assert operation["x-mine"] == {"a": 1}
    assert sorted(parameter["name"] for parameter in operation["parameters"]) == ["stream", "x"]
    assert operation["responses"]["406"]["description"] == "Mine"
    assert "application/problem+json" in operation["responses"]["406"]["content"]
    assert operation["responses"]["429"] == {"description": "Slow down"}
    content = operation["responses"]["200"]["content"]
    assert set(content) == {*TYPES, "text/csv"}
    assert content[NDJSON]["example"] == '{"n":1}'
    assert "x-itemSchema" in content[NDJSON]


class Mine(BaseModel):
    mine: int


def test_the_authors_responses_win_and_are_merged():
    app = make_app()
    responses = {
        200: {"description": "All rows", "content": {SSE: {"schema": {"type": "string", "format": "event-stream"}}}},
        406: {"description": "Mine"},
        422: {"model": Mine, "description": "Not like this"},
        "default": {"description": "Anything else"},
        429: {"description": "Slow down"},
    }

    @app.get("/", responses=responses)
    @dual_mode
    async def rows() -> AsyncIterator[Row]:
        yield Row(n=1)

    made = document(app)
    answers = made["paths"]["/"]["get"]["responses"]
    assert answers["429"] == {"description": "Slow down"}
    assert set(answers["200"]["content"]) == set(TYPES)
    assert answers["422"]["content"][BATCH]["schema"]["$ref"].endswith("/Mine")
    assert {status: answer["description"] for status, answer in answers.items()} == {
        "200": "All rows",
        "406": "Mine",
        "422": "Not like this",
        "default": "Anything else",
        "429": "Slow down",
    }
    assert answers["200"]["content"][SSE]["schema"] == {"type": "string", "format": "event-stream"}


def test_the_authors_own_words_are_not_changed():
    """The document may be made more than once, and one dictionary may serve several routes."""
    extra = {"responses": {"406": {"description": "Mine"}}}
    app = make_app()
    for path in ("/a", "/b"):

        @app.get(path, openapi_extra=extra)
        @dual_mode
        async def rows() -> AsyncIterator[Row]:
            yield Row(n=1)

    first = document(app)
    app.openapi_schema = None
    assert document(app) == first
    assert extra == {"responses": {"406": {"description": "Mine"}}}
