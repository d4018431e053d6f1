"""Values on their way into an index and back, and what an index cannot hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from opensearchpy import OpenSearch

from dynaview.projections.canonical import canonical_number
from dynaview.projections.rows import Field, Layout, Write
from dynaview.sinks.opensearch import OpenSearchSink
from dynaview.sinks.opensearch.target import OpenSearchTarget
from dynaview.sinks.opensearch.values import KEY_BYTES, Unstorable
from dynaview.sinks.port import APPLIED, Rejected, RejectedKind, Stored
from tests.sinks.opensearch.line import Answer, Line

SECRET = "geheimnis"

KINDS = (
    "any",
    "text",
    "integer",
    "bigint",
    "decimal",
    "double",
    "boolean",
    "timestamp",
    "date",
    "json",
    "binary",
    "text[]",
    "decimal[]",
    "timestamp[]",
    "binary[]",
)
NAMES = {kind: kind.replace("[]", "s") for kind in KINDS}

Layouts = Callable[..., Layout]
Limited = Callable[..., OpenSearchSink]


@pytest.fixture(scope="module")
def wide(sink: OpenSearchSink, layout: Layouts) -> OpenSearchTarget:
    """A target with a field of every type, named after it."""
    made = sink.open(layout(tuple(Field(NAMES[kind], kind) for kind in KINDS)), 1)
    made.prepare()
    return made


def row(key: str, version: int = 1, **values: Any) -> Write:
    named = {name.replace("[]", "s"): None for name in KINDS} | values
    assert len(named) == len(KINDS), f"no such field: {values}"
    return Write(key, tuple(named.values()), version)


NUMBER = Decimal("-1.2345678901234567890123456789012345678E-100")


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("any", "text", "text"),
        ("any", "", ""),
        ("any", True, True),
        ("any", Decimal("12345678901234567890123456789012345678"), 12345678901234567890123456789012345678),
        ("any", NUMBER, NUMBER),
        ("any", b"\x00\xff", "AP8="),
        ("any", ["a", Decimal("1.10"), ["nested"], None], ["a", Decimal("1.10"), ["nested"], None]),
        ("any", [], []),
        ("any", 2**70, 2**70),
        ("text", "a\x00b\n\u2028\U0001f600", "a\x00b\n\u2028\U0001f600"),
        ("text", "null", "null"),
        ("text", "x" * 32766, "x" * 32766),
        ("integer", -(2**31), -(2**31)),
        ("bigint", 2**63 - 1, 2**63 - 1),
        ("decimal", Decimal("99999999999999999999999999999999999999"), 99999999999999999999999999999999999999),
        (
            "decimal",
            Decimal("9.9999999999999999999999999999999999999E+125"),
            Decimal("99999999999999999999999999999999999999E+88"),
        ),
        ("decimal", Decimal("1E-130"), Decimal("1E-130")),
        ("decimal", Decimal("0.1"), Decimal("0.1")),
        ("double", 0.1, Decimal("0.1")),
        ("double", 1e300, Decimal("1e300")),
        ("boolean", False, False),
        ("timestamp", datetime(2024, 2, 29, 12, 30, 1, 123456, UTC), "2024-02-29T12:30:01.123456Z"),
        ("timestamp", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "9999-12-31T23:59:59Z"),
        ("timestamp", datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
        ("date", date(1969, 7, 20), "1969-07-20"),
        ("json", {"a": {"b": [None, NUMBER, "", {}]}, "_v": "x"}, {"a": {"b": [None, NUMBER, "", {}]}, "_v": "x"}),
        ("json", "scalar", "scalar"),
        ("json", [1, [2, {"a": NUMBER}]], [1, [2, {"a": NUMBER}]]),
        ("json", NUMBER, NUMBER),
        ("binary", b"", ""),
        ("binary", bytes(range(256)), None),
        ("text[]", ["b", "a", ""], ["b", "a", ""]),
        ("decimal[]", [Decimal("1.5"), NUMBER], [Decimal("1.5"), NUMBER]),
        ("timestamp[]", [datetime(2024, 1, 1, tzinfo=UTC)], ["2024-01-01T00:00:00Z"]),
        ("binary[]", [b"a", b""], ["YQ==", ""]),
    ],
)
def test_every_type_comes_back_exactly(wide: OpenSearchTarget, kind: str, value: Any, shown: Any) -> None:
    write = row(f"{kind} {value!r:.40}", **{NAMES[kind]: value})
    assert wide.write([write]) == [APPLIED]
    (stored,) = wide.read([write.key])
    assert stored == Stored(write.key, 1, "", 1, wide.content(write))
    assert stored is not None
    if shown is not None:
        assert stored.content == {NAMES[kind]: shown}
        assert type(stored.content[NAMES[kind]]) is type(shown)
    assert [found for found in wide.rows() if found.key == write.key] == [stored]


def test_missing_fields_are_not_there(wide: OpenSearchTarget, store: OpenSearch) -> None:
    assert wide.write([row("empty")]) == [APPLIED]
    assert store.get(index=f"{wide.layout.view}-g1", id="empty")["_source"] == {"_v": "1"}
    assert wide.content(row("empty")) == {}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"integer": SECRET}, "field integer does not fit its mapping integer"),
        ({"integer": 2**31}, "field integer does not fit its mapping integer"),
        ({"bigint": 2**63}, "field bigint does not fit its mapping long"),
        ({"boolean": SECRET}, "field boolean does not fit its mapping boolean"),
        ({"date": SECRET}, "field date does not fit its mapping date"),
        ({"decimal": Decimal("1E+999")}, "field decimal does not fit its mapping double"),
        ({"text": {"inner": SECRET}}, "field text does not fit its mapping keyword"),
        ({"any": [{"inner": SECRET}]}, "field any does not fit its mapping keyword"),
        ({"text": SECRET * 5000}, "field text is longer than the 32766 bytes"),
        ({"text": f"{SECRET}\ud800"}, "field text holds text that is not Unicode"),
        ({"json": {"deep": [f"{SECRET}\udfff"]}}, "field json holds text that is not Unicode"),
        ({"json": {"deep": object()}}, "field json holds a dict"),
        ({"double": float("nan")}, "a number is infinite or not a number"),
        ({"json": [{"deep": float("inf")}]}, "a number is infinite or not a number"),
        ({"decimal": Decimal("NaN")}, "refused the document"),
    ],
)
def test_what_an_index_cannot_hold_is_rejected_alone(
    wide: OpenSearchTarget, values: dict[str, Any], named: str
) -> None:
    key = f"{named} {[*values]} {type(values[next(iter(values))])}"
    held = row(key, 1, text="was there")
    assert wide.write([held]) == [APPLIED]
    batch = [row(f"{key} before"), row(key, 2, **values), row(f"{key} never there", 2, **values), row(f"{key} after")]
    first, *rejected, last = wide.write(batch)
    assert (first, last) == (APPLIED, APPLIED)
    for outcome in rejected:
        assert isinstance(outcome, Rejected)
        assert outcome.kind is RejectedKind.CONTENT
        assert named in outcome.reason
        assert SECRET not in outcome.reason
    assert wide.read([key, f"{key} never there"]) == [Stored(key, 1, "", 1, {"text": "was there"}), None]
    repaired = row(key, 3, text="again")
    assert wide.write([repaired]) == [APPLIED]
    assert wide.read([key]) == [Stored(key, 3, "", 1, {"text": "again"})]


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [1_500, 100_000])
def test_what_is_nested_too_deeply_is_rejected(target: OpenSearchTarget, depth: int) -> None:
    outcomes = target.write([Write("deep", (nested(depth), None, None), 1), Write("fine", ("x", None, None), 1)])
    assert isinstance(outcomes[0], Rejected)
    assert outcomes[1] is APPLIED


@pytest.mark.parametrize("letter", ["k", "\u00e9", '"', "\U0001f600"])
def test_keys_up_to_the_limit(target: OpenSearchTarget, letter: str) -> None:
    longest = letter * (KEY_BYTES // len(letter.encode()))
    writes = [Write(key, ("x", None, None), 1) for key in (longest, longest + "k", "ok", f"{letter}\ud800")]
    first, second, third, fourth = target.write(writes)
    assert (first, third) == (APPLIED, APPLIED)
    assert isinstance(second, Rejected)
    assert isinstance(fourth, Rejected)
    assert "512" in second.reason
    assert isinstance(target.write([Write(longest + "k", None, 2)])[0], Rejected)
    found = target.read([longest, longest + "k", f"{letter}\ud800"])
    assert [one is not None for one in found] == [True, False, False]


def test_requests_are_cut_by_size(line: Line, limited: Limited, layout: Layouts) -> None:
    target = limited(request_bytes=3000).open(layout(), 1)
    target.prepare()
    line.seen.clear()
    writes = [Write(f"{number}", ("x" * 900, None, None), 1) for number in range(10)]
    writes[4].values = ("x" * 3001, None, None)
    outcomes = target.write(writes)
    assert isinstance(outcomes[4], Rejected)
    assert SECRET not in outcomes[4].reason
    assert target.fault(writes[4]) == outcomes[4].reason
    assert [outcome for at, outcome in enumerate(outcomes) if at != 4] == [APPLIED] * 9
    assert len(line.seen) == 3
    assert target.count() == 9


def test_requests_are_cut_by_count(line: Line, limited: Limited, layout: Layouts) -> None:
    sink = limited(request_writes=4, looks=3)
    target = sink.open(layout(), 1)
    target.prepare()
    line.seen.clear()
    assert target.write([Write(f"{number}", ("x", None, None), 1) for number in range(10)]) == [APPLIED] * 10
    assert len(line.seen) == 3
    again = sink.open(target.layout, 1)
    assert again.write([Write(f"{number}", ("y", None, None), 2) for number in range(10)]) == [APPLIED] * 10
    assert {row.content["name"] for row in again.rows()} == {"y"}


def test_a_proxy_that_allows_less_gets_smaller_requests(line: Line, through: OpenSearchSink, layout: Layouts) -> None:
    target = through.open(layout(), 1)
    target.prepare()
    line.before = lambda method, path, body: Answer(413, "<html>too large</html>") if len(body) > 2000 else None
    writes = [Write(f"{number}", ("x" * 900, None, None), 1) for number in range(10)]
    writes[4].values = ("x" * 3001, None, None)
    outcomes = target.write(writes)
    assert isinstance(outcomes[4], Rejected)
    assert [outcome for at, outcome in enumerate(outcomes) if at != 4] == [APPLIED] * 9
    assert target.count() == 9


NUMBERS = ("0.000000125", "-0.000000125", f"1{'0' * 100}", f"0.{'0' * 129}1", "9" * 38 + "0" * 88, "0", "0.1", "12")


@pytest.mark.parametrize("fields", [(Field("n"),), None])
def test_numbers_are_found_by_their_own_text(
    sink: OpenSearchSink, layout: Layouts, store: OpenSearch, fields: tuple[Field, ...] | None
) -> None:
    target = sink.open(layout(fields=fields), 1)
    target.prepare()
    numbers = [canonical_number(Decimal(text)) for text in NUMBERS]
    rows = [(text, (number,) if fields else {"n": number}) for text, number in zip(NUMBERS, numbers, strict=True)]
    assert target.write([Write(text, values, 1) for text, values in rows]) == [APPLIED] * len(NUMBERS)
    target.show()
    for text in NUMBERS:
        found = store.search(index=f"{target.layout.view}-g1", body={"query": {"term": {"n": text}}})
        assert [hit["_id"] for hit in found["hits"]["hits"]] == [text]


# Fields that a Python projection left open


def test_open_fields_are_mapped_as_they_come(sink: OpenSearchSink, layout: Layouts, store: OpenSearch) -> None:
    target = sink.open(layout(fields=None), 1)
    target.prepare()
    values = {
        "name": "2024-01-01",
        "whole": Decimal(12),
        "part": Decimal("12.345678901234567890123456789"),
        "yes": True,
        "inner": {"deep": [1, {"x": "y"}]},
        "tags": ["a", "b"],
        "missing": None,
    }
    write = Write("row", values, 1, "item1")
    assert target.write([write]) == [APPLIED]
    assert target.write([Write("other", {"whole": Decimal("0.5")}, 1)]) == [APPLIED]
    (stored,) = target.read(["row"])
    assert stored is not None
    assert (
        stored.content == target.content(write) == {name: value for name, value in values.items() if value is not None}
    )
    assert stored.owner == "item1"
    mapped = store.indices.get_mapping(index=f"{target.layout.view}-g1")[f"{target.layout.view}-g1"]["mappings"]
    types = {name: mapping.get("type") for name, mapping in mapped["properties"].items() if name[0] != "_"}
    assert types == {
        "name": "keyword",
        "whole": "double",
        "part": "double",
        "yes": "boolean",
        "inner": "object",
        "tags": "keyword",
    }
    sink.open(target.layout, 1).prepare()
    (rejected,) = target.write([Write("bad", {"_v": "9"}, 1)])
    assert isinstance(rejected, Rejected)
    assert target.read(["bad"]) == [None]


def test_a_typo_cannot_create_a_field(sink: OpenSearchSink, layout: Layouts) -> None:
    target = sink.open(layout(fields=None, mappings={"name": {"type": "text"}}), 1)
    target.prepare()
    good, bad = target.write([Write("good", {"name": "x"}, 1), Write("bad", {"nmae": SECRET}, 1)])
    assert good is APPLIED
    assert bad == Rejected("field nmae is not in the mapping, which is strict")


def test_content_of_what_cannot_be_stored(target: OpenSearchTarget) -> None:
    with pytest.raises(Unstorable):
        target.content(Write("row", ("\ud800", None, None), 1))
    with pytest.raises(AssertionError):
        target.content(Write("row", ("one value",), 1))
