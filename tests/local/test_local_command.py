"""``dynaview local``, as a user has it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from dynaview.local.state import Run, Running, State
from tests.support.processes import Mark, wait_for


@pytest.fixture
def dynaview(tmp_path: Path, mark: Mark) -> Command:
    return Command(tmp_path, mark.environment)


class Command:
    """Runs ``dynaview local …`` in a directory of its own."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        self.environment = environment

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "dynaview.views.cli", "local", *arguments]

    def __call__(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.argv(*arguments),
            capture_output=True,
            text=True,
            cwd=self.directory,
            env=self.environment,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done


def exports(text: str) -> dict[str, str]:
    """What a shell would make of export lines; fails for any other line."""
    found = {}
    for line in text.splitlines():
        matched = re.fullmatch(r"export (\w+)=(.*)", line)
        assert matched, line
        (found[matched[1]],) = shlex.split(matched[2])
    return found


def test_up_status_env_down(dynaview: Command, mark: Mark) -> None:
    assert "Nothing runs" in dynaview("status", code=1).stdout
    assert json.loads(dynaview("status", "--json", code=1).stdout)["running"] is False
    assert "local up" in dynaview("env", code=1).stderr

    up = dynaview("up", "--only", "redis,postgres")
    urls = exports(up.stdout)
    assert set(urls) == {"REDIS_URL", "DATABASE_URL"}
    with redis.Redis.from_url(urls["REDIS_URL"]) as client:
        assert client.ping() is True
    with psycopg.connect(urls["DATABASE_URL"]) as connection:
        connection.execute("create table kept as select 1 as one")
    assert dynaview("env").stdout == up.stdout

    state = json.loads(dynaview("status", "--json").stdout)
    assert state["running"] is True
    assert {server["name"]: server["url"] for server in state["servers"]} == {
        "redis": urls["REDIS_URL"],
        "postgres": urls["DATABASE_URL"],
    }
    assert urls["DATABASE_URL"] in dynaview("status").stdout

    again = dynaview("up")
    assert "run already" in again.stderr
    assert "Not running: opensearch, dynamodb" in again.stderr
    assert again.stdout == up.stdout

    assert "Stopped" in dynaview("down").stdout
    assert mark.processes() == {}
    assert "Nothing was running" in dynaview("down").stdout

    urls = exports(dynaview("up", "--only", "postgres").stdout)
    with psycopg.connect(urls["DATABASE_URL"]) as connection:
        assert connection.execute("select one from kept").fetchone() == (1,)
    dynaview("down", "--delete")
    assert list(dynaview.directory.iterdir()) == []


def test_a_foreground_run_ends_with_ctrl_c(dynaview: Command, mark: Mark) -> None:
    process = subprocess.Popen(
        dynaview.argv("up", "--foreground", "--only", "redis"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=dynaview.directory,
        env=mark.environment,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("export REDIS_URL=")
    dynaview("status")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in said
    assert mark.processes() == {}
    dynaview("status", code=1)


def test_a_killed_holder_takes_its_servers_with_it_and_is_recognised(dynaview: Command, mark: Mark) -> None:
    dynaview("up", "--only", "redis")
    pid = json.loads(dynaview("status", "--json").stdout)["pid"]
    os.kill(pid, signal.SIGKILL)
    assert mark.wait_until_gone(20) == {}
    assert "ended without" in dynaview("status", code=1).stdout
    assert "Nothing was running" in dynaview("down").stdout
    dynaview("up", "--only", "redis")
    dynaview("down")


def test_a_server_that_ends_by_itself_is_seen(dynaview: Command, mark: Mark) -> None:
    dynaview("up", "--only", "redis")
    (server,) = (pid for pid, command in mark.processes().items() if "valkey-server" in command.split(" ")[0])
    os.kill(server, signal.SIGKILL)

    def ended() -> bool:
        state = json.loads(
            subprocess.run(
                dynaview.argv("status", "--json"), capture_output=True, cwd=dynaview.directory, check=False
            ).stdout
        )
        return not state["servers"][0]["alive"]

    assert wait_for(ended, 20)
    assert "log is" in dynaview("status", code=1).stderr
    dynaview("down")


def test_a_foreign_process_with_the_old_id_is_left_alone(tmp_path: Path, dynaview: Command) -> None:
    """After a reboot the process id in the state file may be anybody's."""
    state = State(tmp_path / ".dynaview")
    (tmp_path / ".dynaview").mkdir()
    (tmp_path / ".dynaview" / "local.lock").touch()
    url = "redis://127.0.0.1:1/0"
    state.write(Run(os.getpid(), 0.0, (Running("redis", "Valkey", url, "log", os.getpid()),)))
    assert "ended without" in dynaview("status", code=1).stdout
    assert "Nothing was running" in dynaview("down").stdout


def test_a_name_that_is_none_is_refused(dynaview: Command) -> None:
    assert "redis, postgres, opensearch, dynamodb" in dynaview("up", "--only", "mysql", code=2).stderr


def test_what_cannot_start_is_said_without_a_stack_trace(dynaview: Command, tmp_path: Path) -> None:
    data = tmp_path / ".dynaview" / "local" / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9\n")
    said = dynaview("up", "--only", "postgres", code=1).stderr
    assert "PostgreSQL ended with exit code" in said
    assert "postgres.log" in said
    dynaview("status", code=1)
