"""Passwords in URLs, written rightly and wrongly, through every place where a URL can stand: none is ever shown."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from dynaview.projections.declaration import DeclarationError
from dynaview.sinks.opensearch import OpenSearchSink
from dynaview.sinks.postgres import PostgresSink
from dynaview.sinks.redis import RedisSink
from dynaview.sources.session import Session
from dynaview.sources.table import DynamoTable
from dynaview.views.cli import cli
from dynaview.views.control.store import ControlStore

FORMS = {
    "right": "{s}://bob:hunter%2Ftooth@127.0.0.1:9{p}",
    "user only": "{s}://hunter-tooth@127.0.0.1:9{p}",
    "at": "{s}://bob:hunter@tooth@127.0.0.1:9{p}",
    "slash": "{s}://bob:hunter/tooth@127.0.0.1:9{p}",
    "slash and digits": "{s}://bob:1234/hunter-tooth@127.0.0.1:9{p}",
    "question mark": "{s}://bob:hunter?tooth@127.0.0.1:9{p}",
    "hash": "{s}://bob:hunter#tooth@127.0.0.1:9{p}",
    "blank": "{s}://bob:hunter tooth@127.0.0.1:9{p}",
    "bracket": "{s}://bob:[hunter]tooth@127.0.0.1:9{p}",
    "percent": "{s}://bob:hunter%tooth@127.0.0.1:9{p}",
    "query": "{s}://127.0.0.1:9{p}?password=hunter-tooth",
    "query beside nonsense": "{s}://127.0.0.1:9{p}?password=hunter-tooth&nonsense=1",
    "as a port": "{s}://127.0.0.1:hunter-tooth{p}",
    "without a scheme": "bob:hunter-tooth@127.0.0.1:9{p}",
    "another scheme": "hunter-tooth://127.0.0.1:9{p}",
}
SCHEMES = {
    "redis": ("redis", "/0"),
    "redis over TLS": ("rediss", "/0"),
    "opensearch": ("http", ""),
    "opensearch over TLS": ("https", ""),
    "postgres": ("postgresql", "/shop"),
    "control": ("postgresql", "/shop"),
    "control by driver": ("postgresql+psycopg", "/shop"),
    "endpoint": ("http", ""),
}
CASES = [
    (place, form)
    for place, form in itertools.product(SCHEMES, FORMS)
    if form != "user only" or place in ("redis", "endpoint", "control")
]

DECLARATION = """
control: "{control}"
sources: {{shop: {{table: shop, region: eu-west-1, endpoint: "{endpoint}"}}}}
sinks:
  cache: {{redis: "{redis}", timeout: 2}}
  search: {{opensearch: "{opensearch}", timeout: 2}}
  reads: {{postgres: "{postgres}", timeout: 2}}
views:
  cards: {{source: shop, sink: cache, match: {{pk: "{{id}}"}}, key: "card:{{id}}", fields: {{id: id}}}}
  found: {{source: shop, sink: search, index: found, match: {{pk: "{{id}}"}}, key: "{{id}}", fields: {{id: id}}}}
  read: {{source: shop, sink: reads, table: read, key: id, fields: {{id: {{from: id, type: text}}}}}}
"""
PLAIN = {
    "redis": "redis://127.0.0.1:9/0",
    "opensearch": "http://127.0.0.1:9",
    "postgres": "postgresql://127.0.0.1:9/shop",
    "endpoint": "http://127.0.0.1:9",
}


def url_of(place: str, form: str) -> str:
    scheme, path = SCHEMES[place]
    return FORMS[form].format(s=scheme, p=path)


def secret_in(text: str) -> bool:
    return any(part in text for part in ("hunter", "tooth"))


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")


USES: dict[str, Callable[[str], object]] = {
    "redis": lambda url: RedisSink("cache", url, {"timeout": 2}).check(),
    "opensearch": lambda url: OpenSearchSink("search", url, {"timeout": 2}).check(),
    "postgres": lambda url: PostgresSink("reads", url, {"timeout": 2}).check(),
    "control": lambda url: ControlStore(url),
    "endpoint": lambda url: DynamoTable(Session("eu-west-1", url, connect=2.0, read=2.0), "shop").describe(),
}


@pytest.mark.parametrize(("place", "form"), CASES)
def test_errors_show_no_password(place: str, form: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nor does anything that a log would show of the error, with whatever it came from."""
    use = USES[place.partition(" ")[0]]
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever it is
        use(url_of(place, form))
    assert not secret_in(str(raised.value))
    assert not secret_in(repr(raised.value))
    assert not secret_in(caplog.text)
    if place != "endpoint":  # botocore's own errors quote the endpoint, but are shown nowhere
        said = traceback.format_exception_only(raised.value)
        cause = raised.value.__cause__ or (None if raised.value.__suppress_context__ else raised.value.__context__)
        while cause is not None:
            said += traceback.format_exception_only(cause)
            cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        assert not secret_in("".join(said))


@pytest.mark.parametrize("command", [["validate"], ["validate", "--online"], ["plan"], ["status"], ["drop", "cards"]])
@pytest.mark.parametrize(("place", "form"), [case for case in CASES if case[1] in ("right", "slash")])
def test_commands_show_no_password(
    place: str, form: str, command: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kind = place.partition(" ")[0]
    file = tmp_path / "dynaview.yaml"
    urls = {"control": f"sqlite:///{tmp_path}/control.db", **PLAIN, kind: url_of(place, form)}
    file.write_text(DECLARATION.format(**urls))
    done = CliRunner().invoke(cli, [*command, "-f", str(file)], input="n\n")
    assert not secret_in(done.output + done.stderr), done.output
    assert not secret_in(caplog.text)
    assert not secret_in(repr(done.exception))
    assert done.exception is None or isinstance(done.exception, SystemExit | DeclarationError), done.exception


@pytest.mark.parametrize("place", ["redis", "opensearch", "postgres", "endpoint"])
@pytest.mark.parametrize(
    "command",
    [["verify", "--timeout", "1"], ["repair", "--timeout", "1"], ["trace", "--key", '{"id": "x"}'], ["doctor"]],
)
def test_commands_on_views_that_are_kept_show_no_password(
    place: str, command: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They get further than those above: to tables and stores, which do not answer."""
    file = tmp_path / "dynaview.yaml"
    control = ControlStore(f"sqlite:///{tmp_path}/control.db")
    for name, sink in (("cards", "cache"), ("found", "search"), ("read", "reads")):
        control.add_view(name, "shop", sink, "f", "arn")
    control.close()
    urls = {"control": f"sqlite:///{tmp_path}/control.db", **PLAIN, place: url_of(place, "right")}
    file.write_text(DECLARATION.format(**urls))
    done = CliRunner().invoke(cli, [*command, "-f", str(file)])
    assert done.exit_code != 0, done.output
    assert not secret_in(done.output + done.stderr), done.output
    assert not secret_in(caplog.text)
