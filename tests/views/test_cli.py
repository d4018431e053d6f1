"""The command line as a whole: what it says of itself, how it ends, and that no mistake shows a stack trace."""

from __future__ import annotations

import logging
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from dynaview.views.cli import COMMANDS, cli, logs
from dynaview.views.cli.examples import EXAMPLES
from dynaview.views.control.store import ControlStore
from tests.support.commands import told
from tests.support.processes import child

DECLARATION = """
control: {control}
sources: {{shop: {{table: shop, region: eu-west-1, endpoint: "http://127.0.0.1:1"}}}}
sinks: {{cache: {{redis: "redis://127.0.0.1:1"}}}}
views:
  cards: {{source: shop, sink: cache, type: hash, key: "c:{{pk}}", fields: {{pk: pk}}}}
"""

RUN = [sys.executable, "-P", "-m", "dynaview.views.cli", "run"]


def test_every_command_is_listed_with_what_it_does() -> None:
    done = told("--help")
    assert done.code == 0
    listed = " ".join(done.out.split())
    assert all(f" {name} {what}" in listed for name, what in COMMANDS.items())
    with click.Context(cli) as context:
        assert all(isinstance(cli.get_command(context, name), click.Command) for name in COMMANDS)


def test_the_list_of_commands_and_their_help_load_neither_databases_nor_aws() -> None:
    code = """
import sys
from dynaview.views.cli import main
sys.argv = ["dynaview", *sys.argv[1:]]
try:
    main()
except SystemExit:
    print(sorted({"sqlalchemy", "boto3", "redis", "opensearchpy", "psycopg"} & set(sys.modules)))
"""
    for words in (["--help"], ["status", "--help"], ["validate", "--help"]):
        done = subprocess.run([sys.executable, "-P", "-c", code, *words], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]", words


def test_who_serves_no_http_does_not_load_what_serving_takes() -> None:
    code = "import sys, dynaview.views.cli.run; print({'uvicorn', 'starlette', 'prometheus_client'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("words", [["verify"], ["wait", "cards"], ["status"], ["plan"], ["dead-letters", "list"]])
def test_ctrl_c_ends_every_command_with_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    def interrupt(*_: object, **_more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dynaview.views.declarations.load.load", interrupt)
    assert told(*words, "-f", tmp_path / "dynaview.yaml").code == 130


def test_the_log_is_in_utc_and_says_so() -> None:
    record = logging.LogRecord("dynaview", logging.INFO, "", 1, "view %s: filled", ("cards",), None)
    record.created, record.msecs = 1_700_000_000.25, 250.0
    text = logs.UtcFormatter("%(asctime)s %(levelname)s %(message)s").format(record)
    assert text == "2023-11-14T22:13:20.250Z INFO view cards: filled"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_ends_in_good_order_while_it_waits_for_its_control_store(tmp_path: Path, number: signal.Signals) -> None:
    file = tmp_path / "dynaview.yaml"
    file.write_text(DECLARATION.format(control="postgresql://nobody@127.0.0.1:1/none?connect_timeout=2"))
    with child([*RUN, "-f", str(file)], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "the control store postgresql://" in line
        assert "does not answer" in line
        process.send_signal(number)
        assert process.wait(20) == 0


def test_a_signal_before_anything_is_loaded_is_not_lost(tmp_path: Path) -> None:
    """As PID 1 nothing else would end it: the kernel drops what nobody handles."""
    code = """
import os, signal, sys
from dynaview.views.cli import main
real = __import__("importlib").import_module
sent = []
def late(name, *more):
    if not sent:
        sent.append(os.kill(os.getpid(), signal.SIGTERM))
    return real(name, *more)
__import__("importlib").import_module = late
sys.argv = ["dynaview", "run", "-f", sys.argv[1]]
main()
"""
    file = tmp_path / "dynaview.yaml"
    file.write_text(DECLARATION.format(control="postgresql://nobody@127.0.0.1:1/none"))
    done = subprocess.run([sys.executable, "-P", "-c", code, str(file)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


# Nothing that a user can type shows a stack trace


REDIS = [
    "redis://host/0?x=1",
    "redis://host:port/0",
    "redis://",
    "redis:host",
    "host",
    "redis://host/zero",
    "rediss://h/0?ssl_cert_reqs=x",
]
POSTGRES = ["postgresql://host:port/db", "postgresql://h/db?colour=red", "postgres", "postgresql:///?host=/nowhere"]
OPENSEARCH = ["http://host:port", "http://", "opensearch", "https://host:9200/path?x=1"]
CONTROL = [
    "sqlite:////proc/none/x.db",
    "sqlite://",
    "postgresql://h:p/x",
    "oracle://x",
    "sqlite:///dynaview.yaml/x",
    ":",
    "%",
]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def no_trace(*words: object) -> None:
    """A raised exception would come out of `told`: whatever ends a command ends it with a line and a code."""
    done = told(*words)
    assert done.code in (1, 2), (words, done)
    assert done.err.strip(), words
    assert "Traceback" not in done.err


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("sink", "url"),
    [
        *(("redis", url) for url in REDIS),
        *(("postgres", url) for url in POSTGRES),
        *(("opensearch", url) for url in OPENSEARCH),
    ],
)
def test_addresses_of_stores(tmp_path: Path, sink: str, url: str) -> None:
    file = tmp_path / "dynaview.yaml"
    more = {
        "redis": "type: hash, key: 'c:{pk}'",
        "postgres": "table: c, key: pk",
        "opensearch": "index: c, key: '{pk}'",
    }
    file.write_text(
        f"""
sources: {{shop: {{table: shop}}}}
sinks: {{store: {{{sink}: "{url}"}}}}
views:
  cards: {{source: shop, sink: store, {more[sink]}, fields: {{pk: {{from: pk, type: text}}}}}}
"""
    )
    done = told("validate", "-f", file)
    assert done.code in (0, 2), done
    for words in (["verify"], ["plan"], ["validate", "--online"], ["drop", "cards", "--yes"], ["status", "--check"]):
        no_trace(*words, "-f", file) if words != ["plan"] or done.code else told(*words, "-f", file)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("control", CONTROL)
@pytest.mark.parametrize(
    "command",
    [["status", "--check"], ["validate", "--online"], ["verify"], ["wait", "cards", "--timeout", "0"], ["run"]],
)
def test_addresses_of_the_control_store(
    tmp_path: Path, control: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynaview.views.cli.signals.signal.signal", lambda *_: None)
    file = tmp_path / "dynaview.yaml"
    file.write_text(DECLARATION.format(control=f'"{control}"'))
    no_trace(*command, "-f", file)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "AWS_DEFAULT_REGION"),
        ({"AWS_PROFILE": "nobody"}, "nobody"),
        ({"AWS_DEFAULT_REGION": "not a region"}, ""),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, ""),
    ],
)
def test_surroundings_of_aws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "dynaview.yaml"
    text = DECLARATION.format(control="sqlite:///control.db").replace(", region: eu-west-1", "")
    file.write_text(text)
    for words in (["validate", "--online"], ["infer", "shop"], ["verify"]):
        no_trace(*words, *([] if words[0] == "infer" else ["-f", file]))
    assert said in told("validate", "--online", "-f", file).err


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"views: [",
        b"- a\n- b",
        b"views: {a: {}}",
        b"42",
        b"!x y",
        b"a: &a [*a]",
        b"\x00",
        b"x: ${NO}",
    ],
)
def test_files(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "dynaview.yaml"
    file.write_bytes(content)
    for words in (["validate"], ["status"], ["plan"], ["verify"]):
        no_trace(*words, "-f", file)
    no_trace("validate", "-f", tmp_path)
    no_trace("validate", "-f", tmp_path / "none.yaml")
    no_trace("validate", "-f", tmp_path / "none.py")


@pytest.mark.parametrize(
    "words",
    [
        ["nothing"],
        ["run", "--workers", "0"], ["run", "--lease", "x"], ["run", "--log-level", "all"], ["run", "--http", "x:y"],
        ["wait"], ["wait", "a", "--version", "x"], ["wait", "a", "--until", "soon"], ["verify", "--sample", "x"],
        ["verify", "--since", "never"], ["dead-letters", "list", "--limit", "x"], ["dead-letters", "show", "x"],
        ["status", "--max-lag", "x"], ["drop"], ["rebuild"], ["--nothing"],
    ],
)  # fmt: skip
def test_options(words: list[str]) -> None:
    no_trace(*words)


def _all_commands() -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        found += [(name, command)]
        if isinstance(command, click.Group):
            found = found[:-1] + [(f"{name} {below}", each) for below, each in command.commands.items()]
    return found


def test_the_help_of_every_command_has_an_example_and_fits_a_terminal_of_80_columns() -> None:
    for words, _ in _all_commands():
        shown = told(*words.split(), "--help")
        assert re.search(r"^ *Examples?:", shown.out, flags=re.MULTILINE), words
        assert f"dynaview {words}" in shown.out.split("Example")[-1], words
        assert max(map(len, shown.out.splitlines())) <= 80, words


def test_examples_can_be_parsed() -> None:
    commands = dict(_all_commands())
    for words, lines in EXAMPLES.items():
        for line in lines:
            given = shlex.split(re.sub(r"^eval .\$\((.*)\).$", r"\1", line).partition(" > ")[0])
            assert given[: 1 + len(words.split())] == ["dynaview", *words.split()], line
            context = click.Context(commands[words], info_name=words)
            commands[words].parse_args(context, given[1 + len(words.split()) :])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_commands(shell: str) -> None:
    environment = {**os.environ, "_DYNAVIEW_COMPLETE": f"{shell}_source"}
    command = [str(Path(sys.executable).with_name("dynaview"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "_dynaview_completion" in done.stdout


def test_status_needs_neither_sqlalchemy_nor_a_client_of_a_store(tmp_path: Path) -> None:
    """What it does without is most of the processor time that it would take; health checks start it every few
    seconds."""
    file = tmp_path / "dynaview.yaml"
    file.write_text(DECLARATION.format(control=f"sqlite:///{tmp_path}/control.db"))
    control = ControlStore(f"sqlite:///{tmp_path}/control.db")
    control.add_view("cards", "shop", "cache", "f", "arn")
    control.close()
    code = (
        "import sys; from dynaview.views.cli import cli; cli.main(sys.argv[1:], standalone_mode=False); "
        "print(sorted({'redis', 'opensearchpy', 'psycopg', 'boto3', 'sqlalchemy', 'jsonschema', 'jmespath'} "
        "& set(sys.modules)), len(sys.modules))"
    )
    words = [sys.executable, "-P", "-c", code, "status", "-f", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    loaded, number = done.stdout.splitlines()[-1].rsplit(" ", 1)
    assert "cards" in done.stdout
    assert loaded == "[]"
    assert int(number) < 420
