"""A view with its expressions, patterns and templates read: what compiling and checking need to know of it.

What a name means is settled here, without an item. First come captures, then the attributes of the item; beside
``each`` instead of them what the element holds. ``where`` and ``each`` always see the item. ``_item`` is the item
everywhere. Beside a Python function keys see the captures, then what it returned; fields see what it returned, then the
captures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dynaview.projections.compiler.once import once
from dynaview.projections.declaration import FieldExpression, ViewDeclaration
from dynaview.projections.expressions import ITEM, Expression, parse
from dynaview.projections.patterns import Pattern, Template, parse_pattern, parse_template
from dynaview.projections.times import Unit

_UNNAMEABLE = re.compile(r'["\\\x00-\x1f]')

INJECTIVE = frozenset({"any", "text"})
"""Field types that keep different values of a key attribute different. A number may be written in many texts, and so
may a moment, so the other types may let two items meet."""


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """One value of a row and how it is made."""

    name: str
    place: str
    """For messages: ``field total``."""
    expression: Expression
    type: str
    unit: Unit | None
    default: Any
    required: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """One view, read."""

    view: ViewDeclaration
    alternatives: tuple[Mapping[str, Pattern], ...]
    captures: tuple[str, ...]
    """Every capture of any alternative."""
    where: Expression | None
    each: Expression | None
    fields: Mapping[str, FieldPlan] | None
    score: FieldPlan | None
    expire: FieldPlan | None
    templates: tuple[tuple[str, Template], ...]
    """``key``, and ``member`` where there is one; empty where `columns` make the row key."""
    columns: tuple[str, ...]

    @property
    def many(self) -> bool:
        """Whether an item may yield more than one row."""
        return self.each is not None or self.view.function is not None

    @property
    def matched(self) -> frozenset[str]:
        """The attributes named in ``match``."""
        return frozenset(attribute for alternative in self.alternatives for attribute in alternative)

    @property
    def always_captured(self) -> frozenset[str]:
        """Captures that every alternative has."""
        sets = [
            {name for pattern in alternative.values() for name in pattern.captures} for alternative in self.alternatives
        ]
        return frozenset(set.intersection(*sets)) if sets else frozenset()

    @property
    def returned_names(self) -> frozenset[str]:
        """What a Python function with declared fields may return."""
        plans = [*(self.fields or {}).values(), self.score, self.expire]
        read = {path[0] for plan in plans if plan is not None for path in plan.expression.paths if path}
        return frozenset({*(self.fields or ()), *self.key_names, *read})

    @property
    def attributes(self) -> frozenset[str] | None:
        """The attributes that the view reads; None for the whole item."""
        if self.view.function is not None:
            return None
        plans = [*(self.fields or {}).values(), self.score, self.expire]
        found = _union(
            self.matched,
            self.item_reads(self.where),
            self.item_reads(self.each),
            *(self.row_reads(plan.expression) for plan in plans if plan is not None),
            *(self.named_reads(name) for name in self.key_names),
        )
        # msgspec has no struct fields with such names, so the shape has to keep every attribute.
        return None if found is None or any(_UNNAMEABLE.search(name) for name in found) else found

    @property
    def before_attributes(self) -> frozenset[str] | None:
        """The attributes of an old image that tell which rows its item had; None for the whole item."""
        if self.attributes is None:
            return None
        return _union(
            self.matched,
            self.item_reads(self.where),
            self.item_reads(self.each),
            *(self.named_reads(name) for name in self.key_names),
        )

    @property
    def members(self) -> Mapping[str, frozenset[str]]:
        """The attributes of which members are read and nothing else, with the names of these members."""
        if self.attributes is None:
            return {}
        whole = set(self.matched)
        members: dict[str, set[str]] = {}
        paths = {path for one in (self.where, self.each) if one is not None for path in one.paths}
        for plan in (*(self.fields or {}).values(), self.score, self.expire):
            if plan is not None:
                paths |= {path for path in plan.expression.paths if not self.many or path[:1] == (ITEM,)}
        for path in paths:
            name, *rest = path[1:] if path[0] == ITEM else path
            if path[0] == ITEM or name not in self.captures:
                if rest and not _UNNAMEABLE.search(rest[0]):
                    members.setdefault(name, set()).add(rest[0])
                else:
                    whole.add(name)
        for name in self.key_names:
            whole |= self.named_reads(name) or set() if name not in (self.fields or {}) else set()
        return {name: frozenset(inner) for name, inner in members.items() if name not in whole}

    @property
    def key_attributes(self) -> frozenset[str] | None:
        """The attributes that tell which row an item has, ``where`` aside; None where only a whole item can tell."""
        names = self.key_names
        if self.each is not None or (self.view.function is not None and not set(names) <= set(self.captures)):
            return None
        return _union(self.matched, *(self.named_reads(name) for name in names))

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names that make up the row key: of templates, or columns."""
        return (*self.columns, *(name for _, template in self.templates for name in template.names))

    def item_reads(self, expression: Expression | None) -> frozenset[str] | None:
        """The attributes that an expression on the item reads."""
        if expression is None:
            return frozenset()
        found = set()
        for path in expression.paths:
            if path in ((), (ITEM,)):
                return None
            if path[0] == ITEM:
                found.add(path[1])
            elif path[0] not in self.captures:
                found.add(path[0])
        return frozenset(found)

    def row_reads(self, expression: Expression) -> frozenset[str] | None:
        """The attributes that an expression of a row reads: beside ``each`` only what it reads through ``_item``."""
        if not self.many:
            return self.item_reads(expression)
        paths = {path for path in expression.paths if path[:1] == (ITEM,)}
        return None if (ITEM,) in paths else frozenset(path[1] for path in paths)

    def named_reads(self, name: str) -> frozenset[str] | None:
        """The attributes that a name in the row key reads."""
        if name in self.captures and not self.columns:
            return frozenset()
        if self.view.function is None and self.fields is not None and name in self.fields:
            return self.row_reads(self.fields[name].expression)
        return frozenset() if self.many else frozenset({name})

    def holds_item_key(self, key: Iterable[str]) -> bool:
        """Whether the row key tells items apart: every attribute of the item key stands in it unchanged, or follows
        from captures in it by the same pattern in all alternatives."""
        captures, attributes = self._origins()
        for attribute in key:
            patterns = [alternative.get(attribute) for alternative in self.alternatives]
            first = patterns[0] if patterns else None
            follows = (
                first is not None
                and all(pattern is not None and pattern.text == first.text for pattern in patterns)
                and set(first.captures) <= captures
            )
            if attribute not in attributes and not follows:
                return False
        return True

    def _origins(self) -> tuple[set[str], set[str]]:
        """The captures and the attributes that stand in the row key with different texts for different values."""
        captures: set[str] = set()
        attributes: set[str] = set()
        for name in self.key_names:
            plan = (self.fields or {}).get(name)
            if name in self.captures and not self.columns:
                captures.add(name)
            elif plan is None:
                if not self.many:
                    attributes.add(name)
            elif self.view.function is None and plan.type in INJECTIVE and plan.default is None:
                source = _only_path(plan.expression)
                if source is not None and source[0] in self.captures:
                    captures.add(source[0])
                elif source is not None and source[0] == ITEM:
                    attributes.update(source[1:])
                elif source is not None and not self.many:
                    attributes.add(source[0])
        return captures, attributes


def _only_path(expression: Expression) -> tuple[str, ...] | None:
    """The path, where the expression is nothing but a name or ``_item`` and a name."""
    if expression.name is not None and expression.name != ITEM:
        return (expression.name,)
    children = expression.tree["children"]
    plain = expression.tree["type"] == "subexpression" and all(child["type"] == "field" for child in children)
    if plain and len(children) == 2 and children[0]["value"] == ITEM:
        return (ITEM, str(children[1]["value"]))
    return None


def _union(*sets: frozenset[str] | None) -> frozenset[str] | None:
    found: set[str] = set()
    for one in sets:
        if one is None:
            return None
        found |= one
    return frozenset(found)


@once
def plan_view(view: ViewDeclaration) -> Plan:
    """Read the view's texts, once. Raises `ExpressionError` and `PatternError`, which checking has ruled out before."""
    if view.each is not None and view.function is not None:
        raise ValueError(f"view {view.name}: a Python function yields rows by itself, so each does not go with it")
    alternatives = tuple(
        {attribute: parse_pattern(text) for attribute, text in alternative.items()} for alternative in view.match
    )
    captures = dict.fromkeys(
        name for alternative in alternatives for pattern in alternative.values() for name in pattern.captures
    )
    columns = view.key if isinstance(view.key, tuple) else ()
    templates = (
        [("key", parse_template(view.key, constant=view.member is not None))] if isinstance(view.key, str) else []
    )
    if view.member is not None:
        templates.append(("member", parse_template(view.member)))
    fields = view.fields
    return Plan(
        view=view,
        alternatives=alternatives,
        captures=tuple(captures),
        where=None if view.where is None else parse(view.where),
        each=None if view.each is None else parse(view.each),
        fields=None if fields is None else {name: _field(name, f"field {name}", one) for name, one in fields.items()},
        score=None if view.score is None else _field("score", "score", view.score),
        expire=None if view.expire is None else _field("expire", "expire", view.expire),
        templates=tuple(templates),
        columns=columns,
    )


def _field(name: str, place: str, declared: FieldExpression) -> FieldPlan:
    return FieldPlan(
        name, place, parse(declared.expression), declared.type, declared.unit, declared.default, declared.required
    )
