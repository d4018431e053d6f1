"""Servers start, answer, and are gone afterwards, however their owner ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import redis
from rich.console import Console

from dynaview.local import guard, opensearch, servers
from dynaview.local.errors import LocalServerError, MissingExtra
from dynaview.local.server import Server
from tests.support.processes import Mark, wait_for


class Program(Server):
    """Any program as a server; it "answers" once it has written a file."""

    name = "program"
    title = "A program"
    deadline = 5.0
    remedy = "Do this."

    def __init__(self, directory: Path, *argv: str, grace: float = 5.0) -> None:
        super().__init__(directory)
        self.argv = argv
        self.grace = grace
        self.launches = 0

    @property
    def url(self) -> str:
        return "program://"

    def _launch(self) -> subprocess.Popen[bytes]:
        self.launches += 1
        return self._guarded(guard.job(self.argv, grace=self.grace))

    def _answers(self) -> bool:
        return (self.directory / "ready").exists()


class Impatient(Program):
    """Is given half a second."""

    deadline = 0.5


class Missing(Program):
    """Cannot even be tried."""

    def _launch(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["/no/such/program"])


STUBBORN = "trap '' TERM; touch ready; while :; do sleep 0.05; done"


def test_a_server_is_there_inside_the_block_and_gone_after_it(tmp_path: Path, mark: Mark) -> None:
    with servers.create("redis", tmp_path) as server:
        assert server.running
        client = redis.Redis.from_url(server.url)
        assert client.ping() is True
        assert len(mark.processes()) == 2  # it and its guard
    assert server.pid is None
    assert mark.processes() == {}
    with pytest.raises(redis.ConnectionError):
        client.ping()
    client.close()


def test_a_server_that_ends_at_once_says_what_happened_where_and_what_to_do(tmp_path: Path, mark: Mark) -> None:
    server = Program(tmp_path, "sh", "-c", "echo bad luck; exit 3")
    with pytest.raises(LocalServerError) as caught:
        server.start()
    assert "ended with exit code 3" in str(caught.value)
    assert str(server.log) in str(caught.value)
    assert "bad luck" in str(caught.value)
    assert "Do this." in str(caught.value)
    assert server.launches == 3  # another process may have taken the port, twice


def test_a_program_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    server = Missing(tmp_path, "irrelevant")
    with pytest.raises(LocalServerError, match=r"could not be started \(No such file or directory: /no/such/program\)"):
        server.start()


def test_a_server_that_never_answers_is_given_up_and_ended(tmp_path: Path, mark: Mark) -> None:
    server = Impatient(tmp_path, "sleep", "60")
    with pytest.raises(LocalServerError, match="did not answer within"):
        server.start()
    assert mark.wait_until_gone(5) == {}


def test_a_server_that_ignores_the_polite_signal_is_killed(tmp_path: Path, mark: Mark) -> None:
    server = Program(tmp_path, "sh", "-c", STUBBORN, grace=0.3).start()
    began = time.monotonic()
    server.stop()
    assert mark.processes() == {}
    assert time.monotonic() - began >= 0.3


def test_what_a_server_leaves_in_its_group_goes_with_it(tmp_path: Path, mark: Mark) -> None:
    server = Program(tmp_path, "sh", "-c", "(trap '' TERM; exec sleep 60) & touch ready; wait").start()
    assert len(mark.processes()) == 3
    server.stop()
    assert mark.wait_until_gone(5) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_a_server_ends_when_its_guard_is_killed(tmp_path: Path, mark: Mark) -> None:
    server = servers.create("redis", tmp_path).start()
    assert len(mark.processes()) == 2
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert mark.wait_until_gone(5) == {}
    server.stop()


OWNER = """
import sys
from pathlib import Path
from dynaview.local import servers
with servers.started(("redis", "postgres"), Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_an_owner_that_is_killed(tmp_path: Path, mark: Mark, number: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=mark.environment,
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "ready\n"
    assert len(mark.processes()) >= 5  # the owner, two guards, two servers
    owner.send_signal(number)
    owner.communicate(timeout=30)
    assert mark.wait_until_gone(20) == {}


@pytest.mark.parametrize("moment", [0.2, 0.8, 2.4])
@pytest.mark.usefixtures("archives")
def test_nothing_is_left_when_the_start_is_interrupted(tmp_path: Path, mark: Mark, moment: float) -> None:
    """Ctrl-C while programs are found, data are set up, or a server gets ready."""
    script = (
        "from dynaview.local import servers; from pathlib import Path; import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # whoever runs the tests may ignore it
        "print('begin', flush=True)\n"
        "try:\n"
        "    with servers.started(servers.NAMES, Path(sys.argv[1])): sys.stdin.read()\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', flush=True)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=mark.environment,
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "begin\n"
    time.sleep(moment)  # the moment of the interruption is what is tested
    owner.send_signal(signal.SIGINT)
    assert owner.communicate(timeout=60)[0] == "interrupted\n"
    assert mark.wait_until_gone(20) == {}


def test_postgres_keeps_its_data_and_cleans_its_socket_away(tmp_path: Path, mark: Mark) -> None:
    deep = tmp_path / ("a-rather-long-name-" * 5) / ("b" * 60)  # a socket in there would be beyond 107 bytes
    with servers.create("postgres", deep) as server, psycopg.connect(server.url) as connection:
        connection.execute("create table kept as select 42 as answer")
        sockets = Path(connection.info.host)
        assert sockets.is_dir()
    assert not sockets.exists()
    with servers.create("postgres", deep) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("select answer from kept").fetchone() == (42,)


def test_postgres_sorts_and_encodes_the_same_everywhere(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("show server_encoding").fetchone() == ("UTF8",)
        assert connection.execute("select 'B' < 'a', 'ä' > 'z'").fetchone() == (True, True)


def test_an_interrupted_setup_of_postgres_leaves_nothing_that_looks_like_data(tmp_path: Path, mark: Mark) -> None:
    server = servers.create("postgres", tmp_path)
    half = tmp_path / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with server, psycopg.connect(server.url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_opensearch_is_found_where_another_one_has_taken_its_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = opensearch.OpenSearch(tmp_path, Console())
    server._base, server._cluster = 9210, "mine"
    clusters: dict[int, str | None] = {9211: "theirs", 9212: ""}
    monkeypatch.setattr(opensearch, "_cluster_name", lambda port: clusters.get(port))
    assert server._answers() is False
    clusters[9213] = "mine"
    assert server._answers() is True
    assert server.url == "http://127.0.0.1:9213"


def test_opensearch_says_when_no_port_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = opensearch.OpenSearch(tmp_path, Console())
    server._base, server._cluster = 9290, "mine"
    monkeypatch.setattr(opensearch, "_cluster_name", lambda _port: "theirs")
    with pytest.raises(LocalServerError, match="9299"):
        server._answers()


def test_a_missing_extra_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtra, match=r"pip install '\./dynaview\[local\]'"), servers.started(["redis"], tmp_path):
        pytest.fail("started")


def test_the_environment_names_what_runs_and_no_more() -> None:
    assert servers.environment({"redis": "redis://x"}) == {"REDIS_URL": "redis://x"}
    found = servers.environment({"dynamodb": "http://y"})
    assert found["DYNAMODB_ENDPOINT"] == found["AWS_ENDPOINT_URL_DYNAMODB"] == "http://y"
    assert found["AWS_ACCESS_KEY_ID"]
    assert found["AWS_DEFAULT_REGION"] == "ddblocal"


def test_a_dead_server_is_seen(tmp_path: Path, mark: Mark) -> None:
    server = Program(tmp_path, "sh", "-c", "touch ready; sleep 0.1").start()
    assert wait_for(lambda: not server.running, 5)
    server.stop()
