"""The servers on which the wire contract is tested. Each runs once for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from servers.running import COMMANDS, Server, serving


@pytest.fixture(scope="session", params=COMMANDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with the contract application. Its log must tell of no trouble inside."""
    with serving(request.param, tmp_path_factory.mktemp("server")) as server:
        yield server
    assert server.trouble() == []


@pytest.fixture
def port(server: Server) -> int:
    return server.port


@pytest.fixture
def key() -> str:
    """The name under which the sources of one test are known to the application."""
    return uuid4().hex
