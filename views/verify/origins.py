"""From what people write to items: item keys as JSON, and row keys that tell their item."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from dynaview.projections.attributes import Attr, AttributeValueError, attribute
from dynaview.projections.compiler.analysis import Plan, plan_view
from dynaview.projections.declaration import ViewDeclaration
from dynaview.projections.patterns import Pattern
from dynaview.projections.rows import RowKey
from dynaview.sources.port import Key


def item_key_of(written: str, names: tuple[str, ...]) -> Key:
    """The item key that `written` is: JSON, plain (``{"pk": "a", "sk": 1}``) or as DynamoDB has it
    (``{"pk": {"S": "a"}}``). Raises ValueError, with what would be right."""
    example = "{" + ", ".join(f'"{name}": "…"' for name in names) + "}"
    try:
        read = json.loads(written, parse_float=Decimal)
    except ValueError:
        read = None
    if not isinstance(read, dict) or set(read) != set(names):
        raise ValueError(f"an item key of this table is written as {example}")
    try:
        key = {name: _part(read[name]) for name in names}
    except (AttributeValueError, ValueError):
        raise ValueError(f"a key attribute is text or a number: {example}") from None
    return key


def _part(value: Any) -> Attr:
    if isinstance(value, dict):
        if (
            len(value) != 1
            or not set(value) <= {"S", "N", "B"}
            or not all(isinstance(one, str) for one in value.values())
        ):
            raise ValueError
        return Attr(**value)
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError  # noqa: TRY004 - the caller words it
    return attribute(value)


def item_of(view: ViewDeclaration, key: RowKey, names: tuple[str, ...]) -> Key | None:
    """The key of the only item that can have this row; None where the row key does not tell it.

    A key attribute is found where it stands in the row key as it is, or follows from captures in it.
    """
    plan = plan_view(view)
    if len(plan.alternatives) > 1 or not plan.holds_item_key(names):
        return None
    return _found(view, plan, _texts(plan, key) or {}, names)


def item_of_row(view: ViewDeclaration, key: RowKey, content: Any, names: tuple[str, ...]) -> Key | None:
    """The key of the item that a row's own fields speak of; None where they do not. Whether it is true has to be seen
    from the row's owner: a field may have been edited."""
    plan = plan_view(view)
    if len(plan.alternatives) > 1 or not isinstance(content, dict):
        return None
    texts = {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value for name, value in content.items()
    }
    return _found(view, plan, texts | (_texts(plan, key) or {}), names)


def _found(view: ViewDeclaration, plan: Plan, texts: dict[str, Any], names: tuple[str, ...]) -> Key | None:
    captures: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    for name, value in texts.items():
        field = None if view.function is not None else (plan.fields or {}).get(name)
        source = name
        if field is not None and (name not in plan.captures or plan.columns):
            if field.expression.name is None:
                continue
            source = field.expression.name
        (captures if source in plan.captures else attributes)[source] = value
    return _key(plan, captures, attributes, names)


def _texts(plan: Plan, key: RowKey) -> dict[str, Any] | None:
    """What the names in the row key stand for."""
    if plan.columns:
        return dict(zip(plan.columns, key, strict=True))
    parts = (key,) if isinstance(key, str) else key
    found: dict[str, Any] = {}
    for (_, template), part in zip(plan.templates, parts, strict=True):
        # A name's value never holds what follows it unescaped, so a template is read as a pattern is.
        read = Pattern(template.text, template.literals, template.names).match(part)
        if read is None:
            return None
        last = template.names[-1] if template.names else None
        for name, text in read.items():
            found[name] = text if name == last else unquote(text)
    return found


def _key(plan: Plan, captures: dict[str, Any], attributes: dict[str, Any], names: tuple[str, ...]) -> Key | None:
    found: Key = {}
    for name in names:
        pattern = plan.alternatives[0].get(name) if plan.alternatives else None
        if name in attributes:
            value = attributes[name]
        elif pattern is not None and set(pattern.captures) <= captures.keys():
            texts = (
                literal + str(captures[one]) for literal, one in zip(pattern.literals, pattern.captures, strict=False)
            )
            value = "".join(texts) + pattern.literals[-1]
        else:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal | bytes):
            return None
        found[name] = attribute(value)
    return found
