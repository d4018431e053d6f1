"""What all tests share: real servers, AWS credentials that lead nowhere, and one Hypothesis profile.

Each server starts when the first test asks for it, and ends with the session; where several processes run the tests,
all servers start before them and serve all. A server that runs already is used instead where its environment variable
names it. Without servers (no network for the first download, say) the tests
that need them are skipped, with the reason; with ``DYNAVIEW_REQUIRE_SERVERS=1`` they fail.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import boto3
import pytest
from botocore.config import Config
from hypothesis import HealthCheck, Phase, settings

from dynaview.local import servers
from dynaview.local.valkey_cluster import ValkeyCluster
from dynaview.views.daemon.interpreter import SWITCH
from tests.support import running
from tests.support.pgbouncer import NoPgBouncer, pgbouncer

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

settings.register_profile(
    "dynaview", deadline=None, print_blob=True, derandomize=False, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(  # what fails is told as it was found: shrinking takes minutes, and anyone can do it later
    "ci", settings.get_profile("dynaview"), phases=(Phase.explicit, Phase.reuse, Phase.generate)
)
settings.load_profile("ci" if os.environ.get("CI") else "dynaview")

sys.setswitchinterval(SWITCH)  # threads take turns as they do in a daemon

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and their children, ignore it

for _name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[_name]  # no test may reach an account
os.environ.update(servers.CREDENTIALS, AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE=os.devnull)
os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give Hypothesis a seed that the header can show; ``--hypothesis-seed`` repeats a run."""
    if config.getoption("--hypothesis-seed", None) is None:
        config.option.hypothesis_seed = str(random.randrange(2**32))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the servers for several processes; what cannot be had, each of them asks for again and says why."""
    config = session.config
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None) or config.option.collectonly:
        return
    folder = Path(tempfile.mkdtemp(prefix="dynaview-tests-"))
    shared = [servers.create(name, folder) for name, variable in _VARIABLES.items() if variable not in os.environ]

    def start(server: servers.Server) -> None:
        with contextlib.suppress(servers.LocalServerError):
            server.start()
            os.environ[_VARIABLES[server.name]] = server.url

    def stop() -> None:
        for server in shared:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)

    config.add_cleanup(stop)
    with ThreadPoolExecutor() as pool:
        list(pool.map(start, shared))


def pytest_report_header(config: pytest.Config) -> str:
    """Show the seed."""
    return f"repeat with: --hypothesis-seed={config.getoption('--hypothesis-seed')}"


@pytest.fixture(autouse=True)
def _nothing_goes_on() -> Iterator[None]:
    """End what a failed test left running; a test that passes has ended it itself."""
    yield
    running.stop_all()


_VARIABLES = {
    "redis": "DYNAVIEW_TEST_REDIS_URL",
    "postgres": "DYNAVIEW_TEST_POSTGRES_URL",
    "opensearch": "DYNAVIEW_TEST_OPENSEARCH_URL",
    "dynamodb": "DYNAVIEW_TEST_DYNAMODB_ENDPOINT",
}


def _server(name: str, factory: pytest.TempPathFactory) -> Iterator[str]:
    if running := os.environ.get(_VARIABLES[name]):
        yield running
        return
    with needed(servers.create(name, factory.mktemp("servers"))) as server:
        yield server.url


_Server = TypeVar("_Server", bound=servers.AnyServer)


@contextlib.contextmanager
def needed(server: _Server) -> Iterator[_Server]:
    """Start a server, and end it after the block. Where it can't be had the test is skipped, or fails, see above."""
    try:
        server.start()
    except servers.LocalServerError as error:
        if os.environ.get("DYNAVIEW_REQUIRE_SERVERS") == "1":
            pytest.fail(f"needs {server.title}: {error}", pytrace=False)
        pytest.skip(f"needs {server.title}: {error}")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey that all tests share: use keys of your own."""
    yield from _server("redis", tmp_path_factory)


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    """A cluster of three primaries and their replicas that tests of one process share: use keys of your own."""
    with needed(ValkeyCluster(tmp_path_factory.mktemp("cluster"))) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL that all tests share, as a superuser: use tables of your own."""
    yield from _server("postgres", tmp_path_factory)


@pytest.fixture(scope="session")
def pooler_url(postgres_url: str) -> Iterator[str]:
    """The same PostgreSQL through a PgBouncer in transaction mode, its databases by their names."""
    plain = postgres_url.replace("postgresql+psycopg://", "postgresql://")
    try:
        with pgbouncer(plain) as url:
            yield url
    except NoPgBouncer as error:
        if os.environ.get("DYNAVIEW_REQUIRE_SERVERS") == "1":
            pytest.fail(f"needs PgBouncer: {error}", pytrace=False)
        pytest.skip(f"needs PgBouncer: {error}")


@pytest.fixture(scope="session")
def opensearch_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An OpenSearch that all tests share: use indexes of your own."""
    yield from _server("opensearch", tmp_path_factory)


@pytest.fixture(scope="session")
def dynamodb_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A DynamoDB Local that all tests share: use tables of your own."""
    yield from _server("dynamodb", tmp_path_factory)


@pytest.fixture(scope="session")
def urls(dynamodb_endpoint: str, redis_url: str, postgres_url: str, opensearch_url: str) -> dict[str, str]:
    """All of them, by the names of `dynaview.local`."""
    return {"dynamodb": dynamodb_endpoint, "redis": redis_url, "postgres": postgres_url, "opensearch": opensearch_url}


@pytest.fixture(scope="session")
def dynamodb(dynamodb_endpoint: str) -> DynamoDBClient:
    """A client of DynamoDB Local."""
    return boto3.client("dynamodb", endpoint_url=dynamodb_endpoint, region_name=servers.REGION, config=_CONFIG)


@pytest.fixture(scope="session")
def dynamodb_streams(dynamodb_endpoint: str) -> DynamoDBStreamsClient:
    """A client of DynamoDB Local's streams."""
    return boto3.client("dynamodbstreams", endpoint_url=dynamodb_endpoint, region_name=servers.REGION, config=_CONFIG)


_CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=5, read_timeout=30)
