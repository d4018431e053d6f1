"""Reading what is particular to a store: types and expiry in Redis, indexes in OpenSearch, tables in Postgres."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from dynaview.projections.declaration import FieldExpression, SinkKind
from dynaview.projections.patterns import Template
from dynaview.projections.reading.fields import STORES, ReadField, plain, read_expression, read_field
from dynaview.projections.reading.keys import Names, read_columns, read_template
from dynaview.projections.reading.names import LONGEST_TABLE, identifier_problem, index_problem
from dynaview.projections.reading.schema import LATER_REDIS_TYPES, REDIS_TYPES
from dynaview.projections.reading.section import Section
from dynaview.projections.rows import (
    EXPIRE,
    SCORE,
    Field,
    Index,
    Layout,
    OpenSearchOptions,
    Options,
    PostgresOptions,
    RedisOptions,
)
from dynaview.projections.suggestions import did_you_mean

_OWN_KEYS: dict[SinkKind, tuple[str, ...]] = {
    "redis": ("type", "member", "score", "expire"),
    "opensearch": ("index", "settings", "mappings"),
    "postgres": ("schema", "table", "indexes"),
}


@dataclass(frozen=True, slots=True)
class Kept:
    """How a view is kept in its sink; where a part is missing, why has been told."""

    key: str | tuple[str, ...] | None
    layout: Layout | None
    target: Hashable | None
    """What two views of one store may not share. Redis: the key template's literals."""
    member: str | None = None
    score: FieldExpression | None = None
    expire: FieldExpression | None = None


def read_kept(section: Section, name: str, kind: SinkKind, names: Names) -> Kept:
    """Everything of view `name` that depends on the kind of its sink."""
    for other, keys in _OWN_KEYS.items():
        for key in keys:
            if other != kind and section.has(key):
                section.problem(f"is only for {STORES[other]}, but the sink is {STORES[kind]}: remove it", key)
    if names.function and not section.has("fields") and kind != "redis":
        section.problem(
            f"a Python view in {STORES[kind]} declares its fields and their types: add fields, as in "
            "fields: {order_id: {type: text}}"
        )
    match kind:
        case "redis":
            return _redis(section, name, names)
        case "opensearch":
            return _opensearch(section, name, names)
        case "postgres":
            return _postgres(section, name, names)


def _redis(section: Section, name: str, names: Names) -> Kept:
    type_: Any = section.text("type") or "hash"
    if type_ in LATER_REDIS_TYPES:
        section.problem(f"{type_} is not yet supported: use {', '.join(REDIS_TYPES)}", "type")
        type_ = "hash"
    members = type_ in ("set", "sorted_set")
    template = read_template(section, "key", names, constant=members)
    _check_redis_prefix(section, template)
    member = read_template(section, "member", names) if members else None
    score = _score(section, names) if type_ == "sorted_set" else None
    _check_members(section, type_)
    _check_elements(section, names, [*_names(template), *_names(member)], "member" if members else "key")
    after, expire = _expire(section, names, members)
    fields: list[Field] | None = [] if members else _columns(names)
    if type_ == "sorted_set":
        fields = [Field(SCORE, "double")]
    if expire is not None and fields is not None:
        fields.append(Field(EXPIRE, "bigint"))
    literals = template.literals if template is not None else ("", "")
    options = RedisOptions(type_, after, expire is not None, literals)
    return Kept(
        key=template.text if template is not None else None,
        layout=_layout(name, (), fields, options),
        target=literals if template is not None else None,
        member=member.text if member is not None else None,
        score=score.expression if score is not None else None,
        expire=expire,
    )


def _names(template: Template | None) -> tuple[str, ...]:
    return template.names if template is not None else ()


def _columns(names: Names) -> list[Field] | None:
    return None if names.fields is None else [field.column for field in names.fields.values()]


def _layout(name: str, key: tuple[str, ...], fields: list[Field] | None, options: Options) -> Layout:
    return Layout(name, key, None if fields is None else tuple(fields), options)


def _check_redis_prefix(section: Section, template: Template | None) -> None:
    start = template.literals[0] if template is not None else ""
    if start[:2] in ("_v", "_t", "_g") and start[2:3] in ("", *":{#"):
        section.problem(
            "keys that begin with _v, _t or _g are kept for versions, tombstones and generations: choose others",
            "key",
        )


def _check_members(section: Section, type_: str) -> None:
    wanted = {"set": ("member",), "sorted_set": ("member", "score")}.get(type_, ())
    for key in ("member", "score"):
        if key in wanted and not section.has(key):
            section.problem(f"{key} is missing: a {type_} needs it")
        if key not in wanted and section.has(key):
            section.problem(f"does not go with type {type_}: remove it, or set type: sorted_set", key)


def _check_elements(section: Section, names: Names, used: list[str], key: str) -> None:
    if used and names.same_for_all_elements(used):
        section.problem(
            "holds nothing of the element, so all elements of one item would be one row: add a field of the element, "
            "such as its id, or one made of _index or _key",
            key,
        )


def _score(section: Section, names: Names) -> ReadField | None:
    if not section.has("score"):
        return None
    field = read_field(section.section("score"), SCORE, "redis", "double", each=names.each)
    read = field.expression
    score = FieldExpression(read.expression, "double", None, read.default, True, read.at)
    return ReadField(score, field.column, field.parsed)


def _expire(section: Section, names: Names, members: bool) -> tuple[int | None, FieldExpression | None]:
    if not section.has("expire"):
        return None, None
    if members:
        section.problem("members of a set can't expire one by one in Redis: remove expire", "expire")
        return None, None
    after = section.get("expire")
    if isinstance(after, int):
        return after, None
    below = section.section("expire")
    parsed = read_expression(below, "from", each=names.each)
    if parsed is None:
        return None, None
    unit: Any = below.text("unit")
    # How it becomes seconds is `conversions.expire_seconds`, whatever the type.
    return None, FieldExpression(parsed.text, "timestamp", unit or "seconds", None, False, below.at())


def _opensearch(section: Section, name: str, names: Names) -> Kept:
    template = read_template(section, "key", names)
    _check_elements(section, names, [*_names(template)], "key")
    index = _required(section, "index", "OpenSearch", "the name that readers use")
    if index is not None:
        problem = index_problem(index)
        if problem is not None:
            section.problem(problem, "index")
    settings = section.get("settings") or {}
    properties = section.section("mappings").get("properties") or {}
    for field in properties:
        if names.fields is not None and field not in names.fields:
            section.problem(
                f"not one of the fields{did_you_mean(field, names.fields)}", "mappings", "properties", field
            )
    options = OpenSearchOptions(index or "", plain(settings), plain(properties))
    return Kept(
        key=template.text if template is not None else None,
        layout=_layout(name, (), _columns(names), options),
        target=index,
    )


def _postgres(section: Section, name: str, names: Names) -> Kept:
    key = read_columns(section, names)
    _check_elements(section, names, [*(key or ())], "key")
    table = _required(section, "table", "Postgres", "the name that readers use")
    schema = section.text("schema") or "public"
    for part, value, longest in (("table", table, LONGEST_TABLE), ("schema", schema, LONGEST_TABLE)):
        problem = identifier_problem(value, longest) if value is not None else None
        if problem is not None:
            section.problem(problem, part)
    if schema.startswith("pg_") or schema == "information_schema":
        section.problem("schemas of Postgres itself are not for views: name another", "schema")
    for column in key or ():
        if section.section("fields").section(column).get("required") is False:
            section.problem("is part of the key and so always required: remove required", "fields", column, "required")
    indexes = tuple(found for each in section.section("indexes").elements() if (found := _index(each, names)))
    return Kept(
        key=key,
        layout=_layout(name, key or (), _columns(names), PostgresOptions(table or "", schema, indexes)),
        target=(schema, table) if table is not None else None,
    )


def _index(section: Section, names: Names) -> Index | None:
    whole = section.value()
    written = section.get("columns") if isinstance(whole, dict) else whole
    columns = [written] if isinstance(written, str) else written
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        return None  # told by the schema
    for column in columns:
        if names.fields is not None and column not in names.fields:
            section.problem(f"{column} is not one of the fields{did_you_mean(column, names.fields)}")
    unique, method = section.get("unique") is True, section.text("method") or "btree"
    if unique and method != "btree":
        section.problem(f"a {method} index can't be unique in Postgres: remove method or unique", "method")
    if method in ("hash", "spgist") and len(columns) > 1:
        section.problem(f"a {method} index has one column in Postgres: use btree", "method")
    return Index(tuple(columns), unique, method)


def _required(section: Section, key: str, store: str, meaning: str) -> str | None:
    if not section.has(key):
        section.problem(f"{key} is missing: a view in {store} needs it, {meaning}")
    return section.text(key)
