"""The demo application: real data in both modes, work that outlives its clients, a language model, and a page for all.

`make run` starts it. It is for one process: its runs and channels are in memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from dual_mode_streaming import Runs, Streams
from dual_mode_streaming.llm import LlamaModel, Model, Simulator, llm_router
from dual_mode_streaming.stores import MemoryStore
from dual_mode_streaming.stores.base import Store
from dual_mode_streaming.telemetry import PrometheusMetrics, health_routes

from . import breaking, endpoints, hoses
from .live import beating, live_routes, make_channel
from .page import add_page
from .reports import report_routes
from .wires import Wires

__all__ = ["app", "create_app", "language_model"]


def language_model() -> Model:
    """Give the real model if `make local-model` has installed it, else a simulated one. Both are called `demo` too."""
    if LlamaModel.available():
        return LlamaModel(names=("demo", "smollm2-135m-instruct"))
    return Simulator(pace=0.03, first_token=0.2, names=("demo", "simulator"))


def create_app(model: Model | None = None, store: Store | None = None) -> FastAPI:
    """Make the demo application.

    Args:
        model: The language model; None for the best one that is installed.
        store: Where runs are kept; None for the memory of this process.
    """
    metrics = PrometheusMetrics()
    runs = Runs(store or MemoryStore(), observers=[metrics])
    streams = Streams(grace=3, observers=[metrics])
    wires, pulse, hosing = Wires(), make_channel(), hoses.Hoses()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # The streams come last, so that they end first: before what their sources need.
        async with runs.lifespan(app), hosing.lifespan(), beating(pulse, streams), streams.lifespan(app):
            yield

    app = FastAPI(
        title="dual-mode-streaming: the demo",
        description="Every endpoint is one async generator. `Accept` or `?stream=true` chooses the mode.",
        lifespan=lifespan,
    )
    app.state.runs = runs
    app.state.streams = streams
    app.state.hoses = hosing
    app.state.pulse = pulse
    app.include_router(endpoints.router)
    app.include_router(report_routes(runs))
    app.router.routes.append(runs.router())
    app.include_router(llm_router(model or language_model()))
    app.include_router(breaking.router)
    app.include_router(live_routes(pulse))
    app.include_router(hoses.router)
    app.add_route("/wires/{name}/cut", wires.cut, methods=["POST"], include_in_schema=False)
    app.add_middleware(wires.around)
    metrics.watch(pulse, "pulse")
    app.router.routes += [metrics.route("/-/metrics"), *health_routes(runs=runs)]  # /metrics is about the machine
    add_page(app)
    return app


app = create_app()
