"""Columns: how each field type is kept in Postgres, and which of its values Postgres cannot hold.

Nothing here may round, cut or convert silently: a SQL type in the declaration that would do so with the field's type
is refused, and a value that its column cannot hold exactly has a fault (law 11).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from json import loads
from typing import Any
from uuid import UUID

from dynaview.projections.canonical import json_encoder
from dynaview.projections.rows import Field, Layout, PostgresOptions
from dynaview.sinks.postgres import literals
from dynaview.sinks.postgres.literals import Encode

VERSION, OWNER, DELETED = "_version", "_owner", "_deleted"
"""The columns beside the fields: numeric; text; timestamptz, null while the row is live, else the store's time of the
delete."""

_TAKEN = frozenset({VERSION, OWNER, DELETED, "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "oid"})
_IDENTIFIER_BYTES = 63

_DERIVED = {
    "any": "jsonb",
    "text": "text",
    "integer": "integer",
    "bigint": "bigint",
    "decimal": "numeric",
    "double": "double precision",
    "boolean": "boolean",
    "timestamp": "timestamptz",
    "date": "date",
    "json": "jsonb",
    "binary": "bytea",
}

_DECLARED = re.compile(
    r"\s*(?P<name>[a-z_][\w.]*(?:\s+(?!with|collate)[a-z_]\w*)*)"
    r"\s*(?:\(\s*(?P<first>\d+)\s*(?:,\s*(?P<second>\d+)\s*)?\))?"
    r"(?P<zone>\s+with(?:out)?\s+time\s+zone)?"
    r"\s*(?P<array>\[\s*\])?"
    r'(?P<collate>\s+collate\s+(?:[a-z_]\w*\.|"[^"%]+"\.)?"[^"%]+")?\s*',
    re.IGNORECASE,
)

_ALIASES = {
    "int": "integer",
    "int4": "integer",
    "int8": "bigint",
    "int2": "smallint",
    "decimal": "numeric",
    "float8": "double precision",
    "float4": "real",
    "float": "double precision",
    "bool": "boolean",
    "character varying": "varchar",
    "char": "bpchar",
    "character": "bpchar",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
}

_ALLOWED = {
    "text": ("text", "varchar", "bpchar"),
    "integer": ("integer", "bigint", "numeric"),
    "bigint": ("bigint", "integer", "smallint", "numeric"),
    "decimal": ("numeric", "integer", "bigint", "smallint"),
    "double": ("double precision",),
    "boolean": ("boolean",),
    "timestamp": ("timestamptz", "timestamp"),
    "date": ("date",),
    "json": ("jsonb", "json"),
    "any": ("jsonb", "json"),
    "binary": ("bytea",),
}
_ALLOWED["integer"] += ("smallint",)

_RESPELT = frozenset(
    (
        *(
            "real",
            "money",
            "time",
            "timetz",
            "interval",
            "bit",
            "bit varying",
            "varbit",
            "name",
            "xml",
            "oid",
            "pg_lsn",
        ),
        *("inet", "cidr", "macaddr", "macaddr8", "tsvector", "tsquery"),
        *("point", "line", "lseg", "box", "path", "polygon", "circle"),
        *("int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange"),
        *("int4multirange", "int8multirange", "nummultirange", "tsmultirange", "tstzmultirange", "datemultirange"),
        *("regclass", "regcollation", "regconfig", "regdictionary", "regnamespace", "regoper", "regoperator"),
        *("regproc", "regprocedure", "regrole", "regtype", "aclitem", "cid", "tid", "xid", "xid8", "jsonpath"),
        *("int2vector", "oidvector", "pg_snapshot", "txid_snapshot", "gtsvector"),
    )
)
_NOT_FROM_TEXT = _RESPELT | {name for names in _ALLOWED.values() for name in names}
"""Types that text may not be poured into: they cut or respell it, so it would not come back as it was."""

_KEY_TYPES = frozenset(
    (
        *("text", "bpchar", "jsonb", "smallint", "integer", "bigint", "numeric", "float8", "boolean"),
        *("timestamptz", "timestamp", "date", "bytea"),
    )
)
"""Types whose values are equal only where those of their field are."""

_BUILT_IN = re.compile(r"^pg_catalog\.", re.IGNORECASE)
_REAL_BITS = 24
"""``float(N)`` of up to so many bits is a real, beyond it a double."""

_BITS = {"smallint": 16, "integer": 32, "bigint": 64}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a view's table."""

    name: str
    sql: str
    """Its SQL type, as in CREATE TABLE."""
    wire: str
    """The element type of the array that brings a batch's values."""
    cast: str
    """What turns such an element into what the column takes, never cutting it: nothing, or ``::uuid``."""
    select: str
    """What follows the column's name to read it."""
    encode: Encode
    fault: Callable[[Any], str | None]
    """Why the column cannot hold this value; shows no part of it."""
    kept: Callable[[Any], Any]
    """The value as it will be read."""


def columns_of(layout: Layout) -> tuple[Column, ...]:
    """The key's columns, in the key's order, and then the other fields' in theirs.

    Raises ValueError, with a remedy, for a layout that is not for Postgres or cannot be kept there.
    """
    if not isinstance(layout.options, PostgresOptions) or layout.fields is None or not layout.key:
        raise ValueError(f"view {layout.view} is not made for Postgres: it needs a table, a key and fields")
    fields = {field.name: field for field in layout.fields}
    for name in layout.key:
        if name not in fields:
            raise ValueError(f"key column {name} of view {layout.view} is not one of its fields")
    for index in layout.options.indexes:
        for name in index.columns:
            if name not in fields:
                raise ValueError(f"indexed column {name} of view {layout.view} is not one of its fields")
    ordered = [*layout.key, *(name for name in fields if name not in layout.key)]
    columns = tuple(_column(fields[name]) for name in ordered)
    return (*map(_key_column, columns[: len(layout.key)]), *columns[len(layout.key) :])


def _key_column(column: Column) -> Column:
    """A column of the key. Where two texts are one value of its type, one item would take the other's row."""
    type = column.cast.removeprefix("::") or column.wire
    if type.removesuffix("[]") in _KEY_TYPES:
        return column
    if type != "uuid":
        raise ValueError(
            f"field {column.name}: a key column of type {column.sql} may take two keys for one; declare another type, "
            f"or leave column away"
        )
    return replace(column, encode=_plain_uuids, fault=partial(_uuid_fault, plain=True))


def _column(field: Field) -> Column:
    if field.name in _TAKEN:
        raise ValueError(f"field {field.name}: Postgres or dynaview uses this column name; choose another")
    if not field.name or "\0" in field.name or len(field.name.encode()) > _IDENTIFIER_BYTES:
        raise ValueError(f"field {field.name}: a column name of Postgres has 1 to {_IDENTIFIER_BYTES} bytes")
    kind, array = field.type.removesuffix("[]"), field.type.endswith("[]")
    type = _Type.of(field, kind, array)
    element = _element(field.name, kind, type)
    if not array:
        return element
    inner = element.cast or f"::{element.wire}"
    return Column(
        name=field.name,
        sql=type.sql,
        wire="text",
        cast=f"{inner}[]",
        select=f"{element.select}[]" if element.select else "",
        encode=literals.lists(element.encode),
        fault=partial(_list_fault, element.fault),
        kept=partial(_list_kept, element.kept),
    )


@dataclass(frozen=True, slots=True)
class _Type:
    """A SQL type taken apart: ``numeric(12,2)[]`` is numeric, (12, 2)."""

    sql: str
    name: str
    arguments: tuple[int, ...]

    @classmethod
    def of(cls, field: Field, kind: str, array: bool) -> _Type:
        if field.column is None:
            derived = _DERIVED[kind]
            return cls(f"{derived}[]" if array else derived, derived, ())
        found = _DECLARED.fullmatch(field.column)
        if found is None:
            raise ValueError(f"field {field.name}: {field.column!r} is not a column type of Postgres")
        if bool(found["array"]) is not array:
            raise ValueError(
                f"field {field.name}: type {field.type} and column {field.column!r} differ in being an array"
            )
        words = " ".join(found["name"].split()) + (" " + " ".join(found["zone"].split()) if found["zone"] else "")
        words = _BUILT_IN.sub("", words)
        name = _ALIASES.get(words.lower(), words if "." in words else words.lower())
        arguments = tuple(int(part) for part in (found["first"], found["second"]) if part is not None)
        if words.lower() == "float" and arguments and arguments[0] <= _REAL_BITS:
            name = "real"
        allowed = _ALLOWED[kind]
        if name not in allowed and (kind != "text" or name in _NOT_FROM_TEXT):
            raise ValueError(
                f"field {field.name}: column {field.column!r} does not hold type {kind} exactly; "
                f"declare another type, or a column of {', '.join(sorted(allowed))}"
            )
        return cls(field.column.strip(), name, arguments)


def _element(name: str, kind: str, type: _Type) -> Column:
    make = partial(Column, name, type.sql)
    first = type.arguments[0] if type.arguments else None
    match type.name:
        case "text":
            return make("text", "", "", literals.texts, _text_fault, _same)
        case "varchar" if first is not None:
            return make("text", "", "", literals.limited(first), partial(_text_fault, limit=first), _same)
        case "varchar":
            return make("text", "", "", literals.texts, _text_fault, _same)
        case "bpchar":
            limit = 1 if first is None else first
            fault = partial(_text_fault, limit=limit, padded=True)
            # As text it comes back without the blanks that fill it up.
            return make("text", "::bpchar", "::text", literals.limited(limit, padded=True), fault, _same)
        case "smallint" | "integer" | "bigint":
            encode = literals.whole_numbers if kind == "decimal" else literals.plain
            return make(type.name, "", "", encode, partial(_integer_fault, _BITS[type.name]), _same)
        case "numeric" if first is not None:
            scale = type.arguments[1] if len(type.arguments) > 1 else 0
            return make("numeric", "", "", literals.within(first, scale), partial(_numeric_fault, first, scale), _same)
        case "numeric":
            return make("numeric", "", "", literals.plain, _number_fault, _same)
        case "double precision":
            return make("float8", "", "", literals.doubles, partial(_kind_fault, float, "a double"), _same)
        case "boolean":
            return make("boolean", "", "", literals.plain, partial(_kind_fault, bool, "a boolean"), _same)
        case "timestamptz" | "timestamp":
            # Sessions that read are in UTC (`client.Mode`), which such a column holds.
            select = "::timestamptz" if type.name == "timestamp" else ""
            digits = 6 if first is None else first
            encode = literals.plain if digits >= 6 else partial(_rounded_times, digits)
            return make(type.name, "", select, encode, partial(_timestamp_fault, digits), _same)
        case "date":
            return make("date", "", "", literals.plain, _date_fault, _same)
        case "jsonb" | "json":
            return make("text", f"::{type.name}", "", literals.json_texts, _json_fault, _json_kept)
        case "bytea":
            return make("bytea", "", "", literals.byte_strings, partial(_kind_fault, bytes, "bytes"), _same)
        case "uuid":
            return make("text", "::uuid", "::text", literals.texts, _uuid_fault, _uuid_kept)
        case _:
            # A type of an extension or of the user's: read and written by its text.
            return make("text", f"::{type.name}", "::text", literals.texts, _text_fault, _same)


# What a column gives back


def _same(value: Any) -> Any:
    return value


def _uuid_kept(value: Any) -> Any:
    return None if value is None else str(UUID(value))


json_loads = partial(loads, parse_float=Decimal)
"""Exact numbers, as psycopg reads jsonb here."""


def _json_kept(value: Any) -> Any:
    return None if value is None else json_loads(json_encoder.encode(value))


def _list_kept(kept: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else [kept(inner) for inner in value]


# Which values a column cannot hold


def _text_fault(value: Any, limit: int | None = None, padded: bool = False) -> str | None:
    if not isinstance(value, str):
        return f"not text but {_python(value)}"
    if "\0" in value:
        return "text with a NUL character"
    if limit is not None and len(value) > limit:
        return f"text of {len(value)} characters"
    if padded and value.endswith(" "):
        return "text with blanks at its end"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "text that is not Unicode (a lone surrogate)"
    return None


def _uuid_fault(value: Any, plain: bool = False) -> str | None:
    if not isinstance(value, str):
        return f"not text but {_python(value)}"
    try:
        respelt = str(UUID(value)) != value
    except ValueError:
        return "text that is no UUID"
    return "a UUID in a key that is not in lower case with four hyphens" if plain and respelt else None


def _plain_uuids(values: Sequence[Any]) -> str:
    if any(value is not None and _uuid_fault(value, plain=True) for value in values):
        raise literals.Unfit
    return literals.texts(values)


def _number_fault(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return f"not a number but {_python(value)}"
    return None if Decimal(value).is_finite() else "a number that is not finite"


def _integer_fault(bits: int, value: Any) -> str | None:
    if fault := _number_fault(value):
        return fault
    if int(value) != value:
        return "a number with digits after the point"
    return None if -(1 << bits - 1) <= value < 1 << bits - 1 else f"a number beyond {bits} bits"


def _numeric_fault(precision: int, scale: int, value: Any) -> str | None:
    if fault := _number_fault(value):
        return fault
    if literals.fits(value, precision, scale):
        return None
    return f"a number with more than {precision - scale} digits before or {scale} after the point"


def _kind_fault(kind: type, name: str, value: Any) -> str | None:
    return None if isinstance(value, kind) else f"not {name} but {_python(value)}"


def _timestamp_fault(digits: int, value: Any) -> str | None:
    if not isinstance(value, datetime):
        return f"not a timestamp but {_python(value)}"
    if value.utcoffset() is None:
        return "a timestamp without a time zone"
    return f"a timestamp with more than {digits} digits after the second" if _cut(digits, value) else None


def _cut(digits: int, value: datetime) -> bool:
    return bool(value.microsecond % 10 ** max(0, 6 - digits))


def _rounded_times(digits: int, values: Sequence[Any]) -> str:
    if any(value is not None and _cut(digits, value) for value in values):
        raise literals.Unfit
    return literals.plain(values)


def _date_fault(value: Any) -> str | None:
    if isinstance(value, datetime) or not isinstance(value, date):
        return f"not a date but {_python(value)}"
    return None


def _json_fault(value: Any) -> str | None:
    try:
        literals.json_texts([value])
    except literals.Unfit:
        return "JSON with a NUL character"
    except UnicodeEncodeError:
        return "text that is not Unicode (a lone surrogate)"
    except (TypeError, ValueError, RecursionError):
        return "a value that JSON does not have, or nested too deeply"
    return None


def _list_fault(fault: Callable[[Any], str | None], value: Any) -> str | None:
    if not isinstance(value, list | tuple):
        return f"not a list but {_python(value)}"
    found = (fault(inner) for inner in value if inner is not None)
    return next((f"a list with {reason}" for reason in found if reason is not None), None)


def _python(value: Any) -> str:
    return type(value).__name__
