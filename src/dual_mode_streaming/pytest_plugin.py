"""Fixtures for pytest. They are there as soon as the package is installed; `docs/testing.md` shows them at work.

pytest loads this module at its start, in every project. So it imports nothing of its own before a fixture is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx2

    from .testing import TCPProxy

__all__ = ["check_dual_mode", "dual_mode_client", "live_server", "tcp_proxy"]


def _kit(name: str, extra: str = "client") -> Any:
    try:
        return getattr(import_module("dual_mode_streaming.testing"), name)
    except ModuleNotFoundError as missing:
        pytest.fail(f"this fixture needs {missing.name}: install dual-mode-streaming[{extra}]", pytrace=False)


@pytest.fixture
def check_dual_mode() -> Callable[..., Any]:
    """Give the function of this name in `dual_mode_streaming.testing`."""
    check: Callable[..., Any] = _kit("check_dual_mode")
    return check


@pytest.fixture
def dual_mode_client() -> Iterator[Callable[..., httpx2.AsyncClient]]:
    """Give a function that makes a client for an application, to be used with `async with`.

    Its further arguments are those of `StreamingASGITransport`. A test that leaves a client open fails.
    """
    transport = _kit("StreamingASGITransport")
    clients: list[httpx2.AsyncClient] = []

    def make(app: Any, **options: Any) -> httpx2.AsyncClient:
        import httpx2

        client = httpx2.AsyncClient(transport=transport(app, **options), base_url="http://testserver")
        clients.append(client)
        return client

    yield make
    if not all(client.is_closed for client in clients):
        pytest.fail("the test has left a client open; use it as `async with dual_mode_client(app) as client:`")


@pytest.fixture
def live_server() -> Iterator[Callable[[Any], str]]:
    """Give a function that runs an application on uvicorn and gives its address. It is stopped after the test."""
    serve = _kit("live_server")
    with ExitStack() as running:

        def start(app: Any) -> str:
            address: str = running.enter_context(serve(app))
            return address

        yield start


@pytest.fixture
def tcp_proxy() -> Iterator[Callable[[str], TCPProxy]]:
    """Give a function that puts a `TCPProxy` before the server at an address. It is closed after the test."""
    proxy = _kit("TCPProxy")
    with ExitStack() as running:

        def start(target: str) -> TCPProxy:
            made: TCPProxy = running.enter_context(proxy(target))
            return made

        yield start
