"""The engines that tests share. Each test has a prefix of its own in them, so none sees the runs of another."""

import secrets

import pytest
from redis import Redis

from asking import asked_in_vain
from stores.engines import REDIS, VALKEY, nats, redis_like


@pytest.fixture(scope="session")
def valkey_engine(tmp_path_factory):
    engine = redis_like(VALKEY, tmp_path_factory.mktemp("valkey"))
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def redis_engine(tmp_path_factory):
    engine = redis_like(REDIS, tmp_path_factory.mktemp("redis"))
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def cluster_engine(tmp_path_factory):
    """One node that is a whole cluster: it refuses whatever touches two slots."""
    engine = redis_like(
        VALKEY, tmp_path_factory.mktemp("cluster"), "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"
    )
    with Redis(port=engine.port) as client:
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        # A node takes a moment to believe that it is all there is.
        assert not asked_in_vain(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def nats_engine(tmp_path_factory):
    engine = nats(tmp_path_factory.mktemp("nats"))
    yield engine
    engine.stop()


@pytest.fixture
def prefix():
    return f"t{secrets.token_hex(4)}"
