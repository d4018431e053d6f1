"""docs/types.md says what the code does, cell by cell."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dynaview.projections.added_functions import ADDED
from dynaview.projections.attributes import Attr, value
from dynaview.projections.canonical import json_encoder, number_text
from dynaview.projections.compiler.jmespath import translate_alone
from dynaview.projections.conversions import ConversionError, converter, expire_seconds
from dynaview.projections.expressions import parse
from dynaview.projections.patterns import parse_pattern, parse_template
from dynaview.projections.rows import SCALARS, Field, Layout, PostgresOptions, RedisOptions, Write, ends_at
from dynaview.projections.times import since_1970, timestamp_text
from dynaview.sinks.opensearch.mapping import DERIVED
from dynaview.sinks.postgres.values import columns_of
from dynaview.sinks.redis.values import Content, stored

PAGE = (Path(__file__).parents[3] / "docs" / "types.md").read_text(encoding="utf-8")
NOW = 1_800_000_000.0
DECODER = msgspec.json.Decoder(Attr)


def tables() -> Iterator[tuple[list[str], list[list[str]]]]:
    """The tables of the page: header and rows of cells."""
    for block in re.findall(r"(?:^\|.*\n)+", PAGE, flags=re.MULTILINE):
        header, _, *rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in block.splitlines()]
        yield header, [[cell.strip("| ") for cell in row] for row in rows]


def the_table(*first: str) -> tuple[list[str], list[list[str]]]:
    """The table whose header begins so."""
    (found,) = [(header, rows) for header, rows in tables() if tuple(header[: len(first)]) == first]
    return [cell.strip("| ") for cell in found[0]], found[1]


def code(cell: str) -> str:
    return cell.strip("`")


def attribute(cell: str) -> Attr:
    """The attribute value that a cell shows."""
    return DECODER.decode(code(cell))


def shown(plain: Any) -> str:
    """A value as the page writes it."""
    match plain:
        case None | bool() | str():
            return json.dumps(plain, ensure_ascii=False)
        case float():
            return repr(plain)
        case Decimal() | int():
            return number_text(plain)
        case bytes():
            return "bytes " + base64.b64encode(plain).decode()
        case datetime():
            assert plain.tzinfo is UTC
            return plain.isoformat().replace("+00:00", "Z")
        case date():
            return plain.isoformat()
        case list():
            return f"[{', '.join(map(shown, plain))}]"
        case dict():
            return f"{{{', '.join(f'{json.dumps(name)}: {shown(one)}' for name, one in plain.items())}}}"
    raise AssertionError(type(plain))


def converted(type_: str, attr: Attr, unit: Any = None) -> str:
    """What a cell should say."""
    plain = value(attr)
    try:
        return f"`{shown(None if plain is None else converter(type_, unit)(plain))}`"
    except ConversionError:
        return "refused"


def conversions() -> Iterator[Any]:
    for header, rows in tables():
        types = [cell.strip("| ") for cell in header[1:]]
        if header[0] == "DynamoDB" and types[0] != "unit":
            for row in rows:
                for column, cell in zip(types, row[1:], strict=True):
                    for type_ in column.split(", "):
                        yield pytest.param(row[0], type_, cell, id=f"{row[0]} as {type_}")


@pytest.mark.parametrize(("written", "type_", "cell"), list(conversions()))
def test_conversion(written: str, type_: str, cell: str) -> None:
    assert converted(type_, attribute(written)) == cell


def test_what_the_second_table_leaves_out_is_refused() -> None:
    _, first = the_table("DynamoDB", "any, json")
    header, second = the_table("DynamoDB", "boolean")
    listed = {row[0] for row in second}
    assert listed <= {row[0] for row in first}
    for row in first:
        for type_ in header[1:]:
            assert row[0] in listed or converted(type_, attribute(row[0])) == "refused", (row[0], type_)


def test_every_attribute_type_and_every_field_type_is_there() -> None:
    _, rows = the_table("DynamoDB", "any, json")
    assert {name for row in rows for name in json.loads(code(row[0]))} == set(Attr.__struct_fields__)
    columns = {
        type_ for header, _ in tables() if header[0] == "DynamoDB" for cell in header[1:] for type_ in cell.split(", ")
    }
    assert columns - {"unit"} >= set(SCALARS)
    _, stores = the_table("type", "DynamoDB")
    assert {row[0] for row in stores} >= set(SCALARS)


@pytest.mark.parametrize("row", the_table("text", "timestamp")[1], ids=lambda row: str(row[0]))
def test_times(row: list[str]) -> None:
    for type_, cell in zip(("timestamp", "date"), row[1:], strict=True):
        assert converted(type_, Attr(S=code(row[0]))) == cell
        assert converted(type_, Attr(S=code(row[0])), "seconds") == cell or code(row[0]).isdigit()


@pytest.mark.parametrize("row", the_table("text", "reason")[1], ids=lambda row: str(row[0]))
def test_refused_times(row: list[str]) -> None:
    for type_ in ("timestamp", "date"):
        with pytest.raises(ConversionError) as caught:
            converter(type_)(code(row[0]))
        assert str(caught.value) == f"wanted {type_}, found text {row[1]}"


def test_when_rows_end() -> None:
    _, rows = the_table("DynamoDB", "unit", "the row ends")
    assert len(rows) > 10
    for written, unit, cell in rows:
        plain = value(attribute(written))
        try:
            seconds = None if plain is None else expire_seconds(plain, None if unit == "-" else unit)  # type: ignore[arg-type]  # a unit
        except ConversionError:
            assert cell == "refused", written
            continue
        end = ends_at(seconds, NOW)
        assert cell == ("never" if end is None else f"at `{timestamp_text(since_1970(end, 'seconds'))}`"), written


@pytest.mark.parametrize("row", the_table("function", "what")[1], ids=lambda row: str(row[0]))
def test_functions(row: list[str]) -> None:
    example = row[2][3:-3] if row[2].startswith("`` ") else code(row[2])
    search = translate_alone(parse(example).tree, "example")
    assert f"`{shown(search({'name': 'Ann'}))}`" == row[3]


def test_every_added_function_is_there_with_its_parameters() -> None:
    rows = the_table("function", "what")[1]
    assert {code(row[0]).partition("(")[0] for row in rows} == set(ADDED)
    for row in rows:
        name, _, parameters = code(row[0]).partition("(")
        needed, _, optional = parameters.rstrip(")").partition("[")
        function = ADDED[name]
        assert (function.optional, function.variadic) == (optional.count(","), "…" in needed), name
        assert len(function.parameters) >= needed.replace(", …", "").count(",") + function.optional, name


def test_units() -> None:
    _, rows = the_table("DynamoDB", "unit", "timestamp")
    assert len(rows) > 5
    for written, unit, *cells in rows:
        assert [converted(type_, attribute(written), unit) for type_ in ("timestamp", "date")] == cells


@pytest.mark.parametrize("row", the_table("type", "DynamoDB")[1], ids=lambda row: f"{row[0]} {row[1]}")
def test_stores(row: list[str]) -> None:
    type_, written, redis, in_json, mapping, column = row
    plain = converter(type_)(value(attribute(written)))
    field = Field("f", type_)
    cell = stored(Content(Layout("v", (), (field,), RedisOptions())).cells(Write("k", (plain,), 1))[1])
    assert cell == {"the bytes": plain, "empty": b""}.get(redis, code(redis).encode())
    assert json_encoder.encode(plain).decode() == code(in_json)
    derived = DERIVED[type_.removesuffix("[]")]
    if mapping == "refused":
        assert isinstance(plain, dict)
        assert derived["type"] == "keyword"
    else:
        assert (derived["type"] if derived.get("enabled", True) else f"{derived['type']}, not indexed") == mapping
    (made,) = [
        one
        for one in columns_of(Layout("v", ("k",), (Field("k", "text"), field), PostgresOptions("t")))
        if one.name == "f"
    ]
    assert made.sql == column


def test_row_keys(view: Callable[..., Any], table: Callable[..., Any]) -> None:
    _, rows = the_table("template")
    assert len(rows) > 3
    for template, values, key in rows:
        parsed = parse_template(code(template))
        item = dict(zip(parsed.names, (code(one) for one in values.split(", ")), strict=True))
        assert table(view(key=code(template))).rows(item) == [(code(key), ())]


def test_patterns() -> None:
    _, rows = the_table("pattern")
    assert len(rows) > 3
    for pattern, text, captures in rows:
        found = parse_pattern(code(pattern)).match(code(text))
        said = None if captures == "no match" else dict(code(one).split("=") for one in captures.split(", "))
        assert found == said, pattern
