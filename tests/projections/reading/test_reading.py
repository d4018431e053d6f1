"""What a right declaration becomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import certifi
import pytest

from dynaview.projections.declaration import Declaration, DeclarationError, FieldExpression, Verification
from dynaview.projections.rows import (
    EXPIRE,
    SCORE,
    Field,
    Index,
    Layout,
    OpenSearchOptions,
    PostgresOptions,
    RedisOptions,
)

Load = Callable[..., Declaration]

TEXT = """\
sources:
  shop: {table: "${PREFIX:-dev}-shop", region: eu-west-1, endpoint: "${DYNAMODB_ENDPOINT:-}"}
sinks:
  cache: {redis: "${REDIS_URL}", timeout: 2.5}
  search: {opensearch: "${OPENSEARCH_URL}", ca_file: certs/ca.pem, verify: true}
  reads: {postgres: "${DATABASE_URL}"}
views:
  order_search:
    source: shop
    match: {pk: "CUSTOMER#{customer_id}", sk: "ORDER#{order_id}"}
    where: status != 'DRAFT'
    sink: search
    index: orders
    key: "{order_id}"
    settings: {number_of_replicas: 0, refresh_interval: 1s, factor: 0.5}
    mappings: {properties: {city: {type: text}}}
    fields:
      order_id: order_id
      city: shipping.city
      total: {from: total, type: decimal, default: 12.50}
      note: {mapping: {type: text, boost: 1.5}}
    on_gap: rebuild
    on_change: stop
    keep: 15m
    shrink: 12.5%
    verify: {every: 7d, sample: 0.05, repair: true}
  customer_card:
    source: shop
    match:
    - {pk: "CUSTOMER#{customer_id}", sk: PROFILE}
    - {pk: "PERSON#{customer_id}"}
    sink: cache
    key: "customer:{customer_id}:card"
    expire: {from: ttl, unit: milliseconds}
    fields: {name: name, odd-name: {type: text, required: true}}
  leaders:
    source: shop
    sink: cache
    type: sorted_set
    key: leaders
    member: "{player}"
    score: {from: points, default: 0}
    fields: {player: player}
  sessions:
    source: shop
    sink: cache
    type: string
    key: "session:{id}"
    expire: 3600
    fields: {id: id}
  order_lines:
    source: shop
    match: {sk: "ORDER#{order_id}"}
    each: lines
    sink: reads
    schema: shop
    table: order_lines
    key: [order_id, sku]
    fields:
      sku: sku
      order_id: order_id
      placed: {from: _item.placed, type: timestamp, unit: seconds, default: "2024-01-01"}
      price: {type: decimal, column: "numeric(12,2)"}
    indexes: [placed, [sku, placed], {columns: [price, sku], unique: true}]
"""


@pytest.fixture
def declaration(folder: Path, load_text: Load) -> Declaration:
    Path("certs").mkdir()
    Path("certs/ca.pem").symlink_to(certifi.where())
    return load_text(TEXT)


def test_sources_and_sinks(declaration: Declaration) -> None:
    shop = declaration.sources["shop"]
    assert (shop.table, shop.region, shop.endpoint) == ("dev-shop", "eu-west-1", None)
    cache, search, reads = declaration.sinks.values()
    assert (cache.kind, cache.url, cache.safe_url) == (
        "redis",
        "redis://user:hunter2@cache:6379/0",
        "redis://cache:6379/0",
    )
    assert cache.options == {"timeout": 2.5}
    assert (search.kind, search.safe_url) == ("opensearch", "https://search:9200")
    assert search.options == {"verify": True, "ca_file": "certs/ca.pem"}
    assert (reads.kind, reads.at.line) == ("postgres", 6)
    assert declaration.control == "sqlite:///dynaview.db"
    assert declaration.file == "dynaview.yaml"


def test_how_many_may_read_a_shard(declaration: Declaration, load_text: Load) -> None:
    assert declaration.sources["shop"].readers == 2
    one = load_text(TEXT.replace("region: eu-west-1", "readers: 1"))
    assert one.sources["shop"].readers == 1


def test_how_soon_an_idle_shard_is_read(declaration: Declaration, load_text: Load) -> None:
    assert declaration.sources["shop"].latency is None
    for written, seconds in {"1s": 1.0, "0.05": 0.05, "10s": 10.0}.items():
        found = load_text(TEXT.replace("region: eu-west-1", f"latency: {written}"))
        assert found.sources["shop"].latency == seconds


@pytest.mark.parametrize(
    ("written", "told"),
    [("0", "at least 0.05s"), ("0.04", "at least 0.05s"), ("11s", "at most 10s"), ("soon", "not a duration")],
)
def test_a_latency_that_makes_no_sense(written: str, told: str, load_text: Load) -> None:
    with pytest.raises(DeclarationError, match=f"sources.shop.latency: .*{told}"):
        load_text(TEXT.replace("region: eu-west-1", f"latency: {written}"))


def test_secrets_are_in_no_repr(declaration: Declaration) -> None:
    assert "hunter2" in declaration.sinks["cache"].url
    assert "hunter2" not in repr(declaration)


def test_an_opensearch_view(declaration: Declaration) -> None:
    view = declaration.views["order_search"]
    assert view.match == ({"pk": "CUSTOMER#{customer_id}", "sk": "ORDER#{order_id}"},)
    assert (view.where, view.each, view.key, view.on_gap) == ("status != 'DRAFT'", None, "{order_id}", "rebuild")
    assert view.layout == Layout(
        "order_search",
        (),
        (
            Field("order_id"),
            Field("city"),
            Field("total", "decimal"),
            Field("note", mapping={"type": "text", "boost": 1.5}),
        ),
        OpenSearchOptions(
            "orders",
            {"number_of_replicas": 0, "refresh_interval": "1s", "factor": 0.5},
            {"city": {"type": "text"}},
        ),
    )
    assert type(view.layout.options) is OpenSearchOptions
    assert type(view.layout.options.settings["factor"]) is float
    assert view.fields is not None
    total, note = view.fields["total"], view.fields["note"]
    assert (total.expression, total.type, total.default, total.required) == (
        "total",
        "decimal",
        Decimal("12.50"),
        False,
    )
    assert note.expression == "note"
    assert (total.at.line, total.at.path) == (20, "views.order_search.fields.total")
    assert (view.places["where"].line, view.places["match.sk"].line, view.places["fields.city"].line) == (11, 10, 19)


def test_what_changes_ask_and_when_the_view_is_verified(declaration: Declaration) -> None:
    view = declaration.views["order_search"]
    assert (view.on_change, view.keep, view.shrink) == ("stop", 900.0, 0.125)
    assert view.verify == Verification(every=604_800.0, sample=0.05, repair=True)
    card = declaration.views["customer_card"]
    assert (card.on_change, card.keep, card.shrink, card.verify) == ("ask", 86_400.0, 0.5, None)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90.0), ("1.5m", 90.0), ("24h", 86_400.0), ("7d", 604_800.0), ("0", 0.0), ("2.5", 2.5), ("0s", 0.0)],
)
def test_durations(load_text: Load, written: str, seconds: float) -> None:
    text = TEXT.replace("ca_file: certs/ca.pem, ", "").replace("keep: 15m", f"keep: {written}")
    assert load_text(text).views["order_search"].keep == seconds


@pytest.mark.parametrize(
    ("written", "number"), [("5%", 0.05), ("0.05", 0.05), ("0%", 0.0), ("0", 0.0), ("1", 1.0), ("100%", 1.0)]
)
def test_shares(load_text: Load, written: str, number: float) -> None:
    text = TEXT.replace("ca_file: certs/ca.pem, ", "").replace("shrink: 12.5%", f"shrink: {written}")
    assert load_text(text).views["order_search"].shrink == number


def test_a_verification_is_of_all_rows_and_mends_nothing_by_itself(load_text: Load) -> None:
    text = TEXT.replace("ca_file: certs/ca.pem, ", "").replace("{every: 7d, sample: 0.05, repair: true}", "{every: 90}")
    assert load_text(text).views["order_search"].verify == Verification(90.0, 1.0, False)


def test_a_redis_hash(declaration: Declaration) -> None:
    view = declaration.views["customer_card"]
    assert view.match == ({"pk": "CUSTOMER#{customer_id}", "sk": "PROFILE"}, {"pk": "PERSON#{customer_id}"})
    assert view.layout == Layout(
        "customer_card",
        (),
        (Field("name"), Field("odd-name", "text"), Field(EXPIRE, "bigint")),
        RedisOptions("hash", None, True, ("customer:", ":card")),
    )
    assert view.expire is not None
    assert (view.expire.expression, view.expire.unit) == ("ttl", "milliseconds")
    assert view.fields is not None
    odd = view.fields["odd-name"]
    assert (odd.expression, odd.required) == ('"odd-name"', True)
    assert (view.on_gap, view.member, view.score, view.function, view.function_name) == ("stop", None, None, None, "")


def test_a_redis_sorted_set(declaration: Declaration) -> None:
    view = declaration.views["leaders"]
    assert (view.match, view.key, view.member) == ((), "leaders", "{player}")
    assert view.layout == Layout(
        "leaders", (), (Field(SCORE, "double"),), RedisOptions("sorted_set", family=("leaders",))
    )
    line = TEXT.splitlines().index("    score: {from: points, default: 0}") + 1
    assert view.score == FieldExpression(
        "points", "double", None, 0.0, True, dataclasses.replace(view.at, path="views.leaders.score", line=line)
    )


def test_a_redis_string_that_expires(declaration: Declaration) -> None:
    view = declaration.views["sessions"]
    assert view.layout == Layout("sessions", (), (Field("id"),), RedisOptions("string", 3600, False, ("session:", "")))
    assert view.expire is None


def test_a_postgres_view(declaration: Declaration) -> None:
    view = declaration.views["order_lines"]
    assert (view.each, view.key) == ("lines", ("order_id", "sku"))
    assert view.layout == Layout(
        "order_lines",
        ("order_id", "sku"),
        (
            Field("sku", "text"),
            Field("order_id", "text"),
            Field("placed", "timestamp"),
            Field("price", "decimal", column="numeric(12,2)"),
        ),
        PostgresOptions(
            "order_lines", "shop", (Index(("placed",)), Index(("sku", "placed")), Index(("price", "sku"), unique=True))
        ),
    )
    assert view.fields is not None
    assert {name: field.required for name, field in view.fields.items()} == {
        "sku": True,
        "order_id": True,
        "placed": False,
        "price": False,
    }
    placed = view.fields["placed"]
    assert (placed.unit, placed.default) == ("seconds", datetime(2024, 1, 1, tzinfo=UTC))


def test_the_control_store_lies_beside_the_first_file(folder: Path, load_text: Load) -> None:
    from dynaview.views.declarations.load import load

    Path("deep").mkdir()
    text = """\
sources: {s: {table: t-1}}
sinks: {c: {redis: "redis://c"}}
views: {v: {source: s, sink: c, key: "{a}", fields: {a: a}}}
"""
    Path("deep/views.yaml").write_text(text)
    assert load([Path("deep/views.yaml")], {}).control == "sqlite:///deep/dynaview.db"
    assert load([folder / "deep/views.yaml"], {}).control == f"sqlite:///{folder}/deep/dynaview.db"
    assert (
        load_text("control: '${CONTROL}'\n" + text, {"CONTROL": "postgresql://u:p@h/d"}).control
        == "postgresql://u:p@h/d"
    )


def test_a_missing_certificate_is_told(problems: Callable[..., list[str]]) -> None:
    (problem,) = problems(TEXT)
    assert problem == "dynaview.yaml:5: sinks.search: ca_file: there is no file certs/ca.pem"


def test_how_a_store_is_told_who_one_is(load_text: Load, problems: Callable[..., list[str]]) -> None:
    signed = "auth: aws, service: es, region: '${PREFIX:-eu-west-1}'"
    text = TEXT.replace("${OPENSEARCH_URL}", "https://search.example.com")
    text = text.replace("ca_file: certs/ca.pem, verify: true", signed)
    assert load_text(text).sinks["search"].options == {
        "auth": "aws",
        "service": "es",
        "region": "eu-west-1",
    }
    (problem,) = problems(text.replace("service: es, region: '${PREFIX:-eu-west-1}'", "service: es"))
    assert problem.startswith("dynaview.yaml:5: sinks.search: auth: aws: the host does not tell region")
    (problem,) = problems(text.replace("service: es, region: '${PREFIX:-eu-west-1}'", "service: ses"))
    assert "sinks.search.service" in problem
    (problem,) = problems(TEXT.replace("ca_file: certs/ca.pem, ", "").replace("timeout: 2.5", "client_cert_file: x"))
    assert problem.endswith("sinks.cache.client_cert_file: redis does not know it: it is for opensearch")


def test_one_column_of_a_key_needs_no_list(load_text: Load) -> None:
    text = TEXT.replace("ca_file: certs/ca.pem, ", "").replace("key: [order_id, sku]", "key: sku")
    view = load_text(text).views["order_lines"]
    assert (view.key, view.layout.key) == (("sku",), ("sku",))
