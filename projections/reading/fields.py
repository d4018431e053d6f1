"""Reading expressions and fields of a view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dynaview.projections.conversions import ConversionError, convert_default
from dynaview.projections.declaration import FieldExpression, SinkKind
from dynaview.projections.expressions import ELEMENT, INDEX, NAME, Expression, ExpressionError, parse
from dynaview.projections.reading.lint import lint_expression
from dynaview.projections.reading.names import column_problem, field_problem
from dynaview.projections.reading.section import Section
from dynaview.projections.rows import Field

_BESIDE_EACH = frozenset({ELEMENT, INDEX, NAME})


@dataclass(frozen=True, slots=True)
class ReadField:
    """A field as projections and as sinks see it."""

    expression: FieldExpression
    column: Field
    parsed: Expression | None
    """None where the expression is wrong, which has been told."""


def read_expression(section: Section, key: str | int, *, each: bool) -> Expression | None:
    """The JMESPath under `key`; None where there is none or it is wrong. `each` says whether elements are known."""
    text = section.text(key)
    return None if text is None else _parsed(section, text, each, key)


def read_fields(section: Section, kind: SinkKind | None, *, each: bool) -> dict[str, ReadField]:
    """The fields under ``fields``, in order."""
    found: dict[str, ReadField] = {}
    for name in section.written():
        field = section.section(name)
        problem = field_problem(name, kind or "")
        if problem is not None:
            field.problem(problem)
        found[name] = read_field(field, name, kind, "text" if kind == "postgres" else "any", each=each)
    return found


def read_field(section: Section, name: str, kind: SinkKind | None, type_: str, *, each: bool) -> ReadField:
    """One field, or the score of a sorted set; `type_` is its type where none is written."""
    whole = section.value()
    short = whole if isinstance(whole, str) else None
    text = short if short is not None else section.text("from")
    if text is None and not section.has("from"):
        text = (
            name
            if name.isidentifier() and name.isascii()
            else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        )
    parsed = None if text is None else _parsed(section, text, each, *(() if short is not None else ("from",)))
    type_ = section.text("type") or type_
    unit: Any = section.text("unit")
    if unit is not None and type_.removesuffix("[]") not in ("timestamp", "date"):
        section.problem(
            f"only timestamps and dates have a unit, this is {type_}: remove it, or set type: timestamp", "unit"
        )
    column, mapping = section.text("column"), section.get("mapping")
    if column is not None:
        _check_store(section, "column", kind, "postgres")
        problem = column_problem(column)
        if problem is not None:
            section.problem(problem, "column")
    if mapping is not None:
        _check_store(section, "mapping", kind, "opensearch")
    expression = FieldExpression(
        expression=text or "",
        type=type_,
        unit=unit,
        default=_default(section, type_),
        required=section.get("required") is True,
        at=section.at(),
    )
    return ReadField(expression, Field(name, type_, column, plain(mapping)), parsed)


def plain(value: Any) -> Any:
    """Settings and mappings as JSON has them: floats are floats."""
    match value:
        case dict():
            return {name: plain(inner) for name, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
        case None | bool() | int() | str():
            return value
    return float(value)


def _default(section: Section, type_: str) -> Any:
    default = section.get("default")
    try:
        return convert_default(type_, default)
    except ConversionError as error:
        section.problem(f"does not fit type {type_}: {error}", "default")
        return None


def _check_store(section: Section, key: str, kind: SinkKind | None, wanted: SinkKind) -> None:
    if kind not in (None, wanted):
        section.problem(f"is only for {STORES[wanted]}: remove it, or use a sink of that kind", key)


def _parsed(section: Section, text: str, each: bool, *below: str | int) -> Expression | None:
    try:
        parsed = parse(text)
    except ExpressionError as error:
        section.problem(str(error), *below)
        return None
    beside = sorted(_BESIDE_EACH & (parsed.names or frozenset()))
    if beside and not each:
        section.problem(f"{beside[0]} is known only in the fields and keys of a view with each", *below)
    lint_expression(section, parsed, *below)
    return parsed


STORES: dict[str, str] = {"redis": "Redis", "opensearch": "OpenSearch", "postgres": "Postgres"}
"""Kinds of sinks as messages name them."""
