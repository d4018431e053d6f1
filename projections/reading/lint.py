"""What is allowed and most likely not meant: warnings, which stop nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dynaview.projections.expressions import Expression, Node, Path, leading_path
from dynaview.projections.functions import STANDARD
from dynaview.projections.reading.document import shown
from dynaview.projections.reading.section import Section
from dynaview.projections.remedies import SMART_QUOTES

_CONSTANTS = frozenset({"true", "false", "null"})
_TEXT_ARGUMENTS = {
    "contains": (1,),
    "starts_with": (1,),
    "ends_with": (1,),
    "join": (0,),
    "split": (1,),
    "replace": (1, 2),
}
_TAKES_NULL = frozenset({"not_null", "to_array", "to_number", "to_string", "type"})
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def lint_expression(section: Section, expression: Expression, *below: str | int) -> None:
    """Names that look like values: ``true``, ``"ACTIVE"``."""
    for message in dict.fromkeys(_misread(expression.tree)):
        section.warn(message, *below)


def lint_filter(section: Section, key: str, expression: Expression | None, known: frozenset[str]) -> None:
    """What makes a filter constant, or items dead letters. `known` are the names that every item has."""
    if expression is None:
        return
    if expression.names is not None and not expression.names:
        section.warn("reads nothing of the item, so it is the same for every item: compare an attribute with it", key)
        return
    for literal in dict.fromkeys(map(_literal_text, _lone_literals(expression.tree))):
        section.warn(f"{literal} alone is no comparison, and always the same: write a == {literal} on each side", key)
    for name, text in dict.fromkeys(_unguarded(expression.tree, known, frozenset())):
        remedy = f"write {text} && {name}(…)"
        section.warn(f"items without {text} become dead letters, because {name}() takes no null: {remedy}", key)


def lint_text(section: Section, text: str, *below: str | int, pattern: bool = False) -> None:
    """Marks in a pattern or a template that stand for themselves and were most likely meant otherwise."""
    if text[:1] in SMART_QUOTES or text[-1:] in SMART_QUOTES:
        section.warn("begins or ends with a typographic quote, which stands for itself: use straight quotes", *below)
    if pattern and "*" in text:
        section.warn("* stands for itself: write a name in braces for any text, as in {id}", *below)


def _misread(node: Node) -> Iterator[str]:
    kind, children = node["type"], node["children"]
    if kind == "field" and node["value"].lower() in _CONSTANTS and not node.get("quoted"):
        name = node["value"]
        remedy = f"write `{name.lower()}` in backticks, or _item.{name} if you mean it"
        yield f"{name} is the attribute of that name: {remedy}"
    if kind == "literal" and isinstance(node["value"], str) and node["value"][:1] in SMART_QUOTES and node["value"]:
        yield "a text begins with a typographic quote, which stands for itself: use straight quotes"
    if kind == "comparator":
        for operand, other in (children, children[::-1]):
            if _is_quoted(operand) and (other["type"] != "literal" or _PLAIN_NAME.fullmatch(operand["value"])):
                yield _quoted(operand)
    if kind == "function_expression":
        for index in _TEXT_ARGUMENTS.get(node["value"], ()):
            if index < len(children) and _is_quoted(children[index]):
                yield _quoted(children[index])
    # Behind a dot a name is a name.
    for child in children[:1] if kind == "subexpression" else children:
        if isinstance(child, dict):
            yield from _misread(child)


def _is_quoted(node: Node) -> bool:
    return node["type"] == "field" and bool(node.get("quoted"))


def _quoted(node: Node) -> str:
    text = shown(node["value"])
    return f"\"{text}\" is the attribute of that name: text stands in single quotes, '{text}'"


def _lone_literals(node: Node) -> Iterator[Any]:
    """Literals where a condition is wanted."""
    kind, children = node["type"], node["children"]
    if kind in ("and_expression", "or_expression"):
        for child in children:
            if child["type"] == "literal":
                yield child["value"]
            else:
                yield from _lone_literals(child)
    elif kind == "not_expression":
        yield from _lone_literals(children[0])


def _literal_text(value: Any) -> str:
    if isinstance(value, str):
        return f"'{shown(value)}'"
    return f"`{'null' if value is None else str(value).lower() if isinstance(value, bool) else shown(str(value))}`"


def _unguarded(node: Node, known: frozenset[str], guarded: frozenset[Path]) -> Iterator[tuple[str, str]]:
    """Functions that take no null, with the attribute given to them that an item may lack."""
    kind, children = node["type"], node["children"]
    if kind in ("and_expression", "or_expression"):
        left, right = children
        yield from _unguarded(left, known, guarded)
        yield from _unguarded(right, known, guarded.union(_read(left)))
    elif kind == "function_expression":
        takes_null = node["value"] not in STANDARD or node["value"] in _TAKES_NULL
        for index, child in enumerate(children):
            path = _whole_path(child)
            any_value = (node["value"] == "contains" and index == 1) or _is_quoted(child)
            if path is None:
                yield from _unguarded(child, known, guarded)
            elif not takes_null and not any_value and path[0] not in known and path not in guarded:
                yield node["value"], ".".join(path)
    elif kind in ("comparator", "not_expression"):
        for child in children:
            yield from _unguarded(child, known, guarded)


def _read(node: Node) -> Iterator[Path]:
    """Every path that a condition looks at."""
    path = _whole_path(node)
    if path is not None:
        yield path
        return
    for child in node["children"]:
        if isinstance(child, dict):
            yield from _read(child)


def _whole_path(node: Node) -> Path | None:
    """The path, where the node is nothing but one."""
    leading = leading_path(node)
    return leading[0] if leading is not None and not leading[1] else None
