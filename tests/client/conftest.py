"""The two clients, for tests that hold for both."""

import pytest

from client.both import KINDS


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request):
    """The async client, and then the sync one."""
    return request.param
