"""Addresses: substitution, wrong URLs, and that secrets never show."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dynaview.projections.declaration import Declaration, SinkKind
from dynaview.projections.reading.addresses import check_control_url, check_sink_url, substitute
from dynaview.projections.urls import AddressError, safe_url

Problems = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${A}", "a"),
        ("x${A}y${B}z", "xaybz"),
        ("${MISSING:-}", ""),
        ("${MISSING:-d:-e}", "d:-e"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY}", ""),
        ("${A:-d}", "a"),
        ("$$A $A $${A}", "$A $A ${A}"),
    ],
)
def test_substitution(text: str, value: str) -> None:
    assert substitute(text, {"A": "a", "B": "b", "EMPTY": ""}) == value


def test_values_are_not_substituted_again() -> None:
    assert substitute("${A}", {"A": "${B}", "B": "b"}) == "${B}"


def test_missing_variables_are_named() -> None:
    with pytest.raises(AddressError, match="environment variable X and Y is not set") as refused:
        substitute("${X}${Y}${X}", {})
    assert "${X:-default}" in str(refused.value)


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A-b}", "${A B}"])
def test_what_looks_like_a_variable_but_is_none_is_refused(text: str) -> None:
    with pytest.raises(AddressError, match=r"write \$\$ for a \$ itself"):
        substitute(text, {"A": "a"})


@pytest.mark.parametrize(
    ("kind", "url", "safe"),
    [
        ("redis", "redis://cache", "redis://cache"),
        ("redis", "rediss://user:secret@cache:6380/1?timeout=3", "rediss://cache:6380/1"),
        ("redis", "redis://:secret@[::1]:6379", "redis://[::1]:6379"),
        ("redis", "unix:///run/redis.sock?db=1", "unix:///run/redis.sock"),
        ("redis", "unix://user:secret@/run/redis.sock", "unix:///run/redis.sock"),
        ("redis", "redis://cache?password=secret", "redis://cache"),
        ("opensearch", "https://user:sec%40ret@search/prefix", "https://search/prefix"),
        ("opensearch", "http://localhost:9200", "http://localhost:9200"),
        ("postgres", "postgresql://user:secret@a:5432,b:5433/shop?sslmode=require", "postgresql://a:5432,b:5433/shop"),
        ("postgres", "postgres://reads", "postgres://reads"),
        ("postgres", "postgresql:///shop", "postgresql:///shop"),
        ("postgres", "postgresql://user:@/shop?host=/tmp/x", "postgresql:///shop"),
    ],
)
def test_right_urls(kind: SinkKind, url: str, safe: str) -> None:
    check_sink_url(kind, url)
    assert safe_url(url) == safe


WRONG = [
    ("redis", "", "the URL is empty"),
    ("redis", "  ", "the URL is empty"),
    ("redis", "hunter2@cache", "not a URL"),
    ("redis", "user:hunter2@cache", "not a URL"),
    ("redis", "http://user:hunter2@cache", "a URL of the wrong kind (http:// is for opensearch)"),
    ("redis", "hunter2://cache", "a URL of the wrong kind: "),
    ("redis", "redis://user:hunter2", "host and port can't be read"),
    ("redis", "redis://user:hunter2@", "the URL names no host"),
    ("redis", "redis://user:hunter2/3@cache", "host and port can't be read"),
    ("redis", "redis://user:hunter2?3@cache", "host and port can't be read"),
    ("redis", "redis://user:hunter2#3@cache", "host and port can't be read"),
    ("redis", "redis://user:hunter2@cache:port", "host and port can't be read"),
    ("redis", "redis://cache:hunter2", "host and port can't be read"),
    ("redis", "redis://cache:70000", "host and port can't be read"),
    ("redis", "redis://user:hunter2 @cache", "the URL holds blanks"),
    ("redis", "redis://user:hunter2\n@cache", "the URL holds blanks"),
    ("redis", "unix://cache", "the URL of a socket names its path"),
    ("opensearch", "postgresql://user:hunter2@reads", "a URL of the wrong kind (postgresql:// is for postgres)"),
    ("opensearch", "https://?password=hunter2", "the URL names no host"),
    ("postgres", "mysql://user:hunter2@reads", "a URL of the wrong kind: "),
    ("postgres", "postgresql://?password=hunter2", "the URL names no host"),
]


@pytest.mark.parametrize(("kind", "url", "beginning"), WRONG)
def test_wrong_urls_are_refused_without_showing_them(kind: SinkKind, url: str, beginning: str) -> None:
    with pytest.raises(AddressError) as refused:
        check_sink_url(kind, url)
    assert str(refused.value).startswith(beginning)
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in safe_url(url)


@pytest.mark.parametrize(("kind", "url", "beginning"), WRONG)
def test_a_wrong_url_is_one_problem_of_its_sink(kind: SinkKind, url: str, beginning: str, problems: Problems) -> None:
    text = f"""\
        sources: {{shop: {{table: shop}}}}
        sinks:
          store:
            {kind}: "${{URL}}"
        views:
          one: {{source: shop, sink: stroe, key: id, fields: {{id: id}}}}
        """
    found = problems(text, {"URL": url})
    assert [line.split(": ")[1] for line in found] == [f"sinks.store.{kind}", "views.one.sink"]
    assert found[0].startswith(f"dynaview.yaml:4: sinks.store.{kind}: {beginning}")
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(
    "url", ["redis://hunter2?3@cache", "redis://cache?password=a@hunter2", "hunter2://cache", "redis"]
)
def test_what_may_be_a_secret_is_not_shown(url: str) -> None:
    assert safe_url(url) == ("redis://…" if url.startswith("redis://") else "…")


def test_urls_written_as_keys_do_not_show(problems: Problems) -> None:
    found = problems("sinks:\n  cache: {'redis://user:hunter2@cache': }\n  'redis://user:hunter2@b': {}\n")
    assert found
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(
    "url", ["sqlite:///dynaview.db", "sqlite://", "postgresql://u:p@h/d", "postgresql+psycopg://h/d"]
)
def test_control_urls(url: str) -> None:
    check_control_url(url)


@pytest.mark.parametrize("url", ["", "dynaview.db", "mysql://u:hunter2@h/d", "hunter2"])
def test_wrong_control_urls(url: str) -> None:
    with pytest.raises(AddressError, match="not a URL of SQLite or PostgreSQL") as refused:
        check_control_url(url)
    assert "hunter2" not in str(refused.value)


ARN = "arn:aws:dynamodb:eu-west-1:222222222222:table/shop"
ROLE = "arn:aws:iam::222222222222:role/team/reader"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (f"table: {ARN}/stream/2026-01-01T00:00:00.000", "table: not the ARN of a table, as in arn:aws:dynamodb:"),
        ("table: arn:aws:s3:::bucket", "table: not the ARN of a table"),
        (f"table: {ARN}, region: us-east-1", "region: the table's ARN says eu-west-1"),
        ("table: shop, role_arn: reader", "role_arn: not the ARN of a role"),
        ("table: shop, role_arn: 'arn:aws:iam::222222222222:user/x'", "role_arn: not the ARN of a role"),
        ("table: shop, external_id: x", "external_id: belongs to a role"),
        (
            f"table: shop, external_id: x, role_arn: '${{NONE:-}}', region: {ARN[17:26]}",
            "external_id: belongs to a role",
        ),
        ("table: shop, fips: true, endpoint: 'https://tables'", "fips: goes by AWS's own endpoints"),
        ("table: shop, fips: 'yes'", "fips: expected true or false"),
        ("table: shop, streams_endpoint: tables", "streams_endpoint: an endpoint looks like"),
        ("table: shop, role: x", "role: unknown key"),
    ],
)
def test_sources_that_cannot_be_meant(problems: Problems, source: str, said: str) -> None:
    (line,) = problems(f"sources: {{shop: {{{source}}}}}\n{SINK_AND_VIEW}")
    assert f"sources.shop.{said}" in line


SINK_AND_VIEW = """\
sinks: {cache: {redis: "${REDIS_URL}"}}
views: {one: {source: shop, sink: cache, key: "one:{pk}", fields: {pk: pk}}}
"""


def test_a_table_of_another_account(load_text: Callable[..., Declaration]) -> None:
    source = f"{{table: {ARN}, role_arn: '${{ROLE}}', external_id: '${{ID}}', profile: '${{PROFILE:-}}', fips: true}}"
    variables = {"REDIS_URL": "redis://cache", "ROLE": ROLE, "ID": "only-we-know"}
    found = load_text(f"sources: {{shop: {source}}}\n{SINK_AND_VIEW}", variables).sources["shop"]
    assert (found.table, found.region, found.role_arn, found.external_id) == (ARN, "eu-west-1", ROLE, "only-we-know")
    assert (found.profile, found.fips, found.readers) == (None, True, 2)
    assert "only-we-know" not in repr(found)
