"""Reading what tells items and rows apart: match patterns, key templates and key columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dynaview.projections.expressions import ITEM
from dynaview.projections.patterns import Pattern, PatternError, Template, parse_pattern, parse_template
from dynaview.projections.reading.document import shown
from dynaview.projections.reading.fields import ReadField
from dynaview.projections.reading.lint import lint_text
from dynaview.projections.reading.section import Section
from dynaview.projections.suggestions import closest


@dataclass(frozen=True, slots=True)
class Captures:
    """The names that match patterns give to parts of key attributes."""

    always: frozenset[str]
    """Those that every alternative has."""
    sometimes: frozenset[str]
    """Those that only some have."""
    certain: bool = True
    """Whether these are all: a pattern that could not be read may hold more."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a row key may be made of."""

    captures: Captures
    fields: Mapping[str, ReadField] | None
    """None where a Python function leaves its fields open."""
    each: bool
    function: bool

    @property
    def known(self) -> list[str]:
        return sorted({*self.captures.always, *(self.fields or ())})

    def unknown(self, name: str) -> str | None:
        """Why a key can't be made of `name`; None where it can."""
        if name in self.captures.always or self.fields is None or name in self.fields or not self.captures.certain:
            return None
        if name in self.captures.sometimes:
            return (
                f"{name} is captured by some alternatives of match only, so the key may lack it: capture it in all, or "
                "make a view of each"
            )
        near = closest(name, self.known)
        meant = f", did you mean {near}?" if near else ""
        return f"{shown(name)} is used but neither captured by match nor one of the fields{meant or ': '}" + (
            "" if near else f"add it to fields, as in {shown(name)}: {shown(name)}, or capture it"
        )

    def same_for_all_elements(self, names: Iterable[str]) -> bool:
        """Whether every element of one item would get the same key."""
        return self.each and not self.function and all(self._of_item(name) for name in names)

    def _of_item(self, name: str) -> bool:
        captured = self.captures.always | self.captures.sometimes
        if name in captured or self.fields is None or name not in self.fields:
            return True
        parsed = self.fields[name].parsed
        return parsed is not None and parsed.names is not None and parsed.names <= {*captured, ITEM}


def read_match(section: Section) -> tuple[tuple[Mapping[str, str], ...], Captures]:
    """The alternatives under ``match`` and what they capture."""
    alternatives = list(section.elements()) or ([section] if section.names() else [])
    texts: list[Mapping[str, str]] = []
    sets: list[frozenset[str]] = []
    for alternative in alternatives:
        patterns = {name: _pattern(alternative, name) for name in alternative.names()}
        texts.append({name: pattern.text for name, pattern in patterns.items() if pattern is not None})
        sets.append(frozenset(name for pattern in patterns.values() if pattern for name in pattern.captures))
    always = frozenset.intersection(*sets) if sets else frozenset()
    read = all(len(text) == len(one.written()) for one, text in zip(alternatives, texts, strict=True))
    certain = read and not section.is_misshapen()
    return tuple(texts), Captures(always, frozenset().union(*sets) - always, certain)


def _pattern(section: Section, attribute: str) -> Pattern | None:
    text = section.text(attribute)
    if text is None:
        return None
    try:
        pattern = parse_pattern(text)
    except PatternError as error:
        section.problem(str(error), attribute)
        return None
    lint_text(section, text, attribute, pattern=True)
    return pattern


def read_template(section: Section, key: str, names: Names, *, constant: bool = False) -> Template | None:
    """The template under `key`. `constant` says that it may be without names."""
    text = section.text(key)
    if text is None:
        if isinstance(section.get(key), list):
            section.problem('is a list, but this key is a template: write text such as "{order_id}:{sku}"', key)
        return None
    try:
        template = parse_template(text, constant=constant)
    except PatternError as error:
        section.problem(str(error), key)
        return None
    lint_text(section, text, key)
    right = True
    for name in dict.fromkeys(template.names):
        problem = names.unknown(name) or _unfit(names.fields, name)
        if problem is not None:
            section.problem(problem, key)
            right = False
    return template if right else None


def read_columns(section: Section, names: Names) -> tuple[str, ...] | None:
    """The key columns of a Postgres view: declared fields, all of one value."""
    found = section.get("key")
    columns = [found] if isinstance(found, str) else found
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        return None  # told by the schema
    right = True
    for index, name in enumerate(columns):
        below: tuple[str | int, ...] = ("key",) if isinstance(found, str) else ("key", index)
        problem = _column_problem(name, names)
        if problem is not None:
            section.problem(problem, *below)
            right = False
    return tuple(columns) if right else None


def _column_problem(name: str, names: Names) -> str | None:
    if "{" in name:
        return "keys in Postgres are names of fields, not a template: write [order_id, sku]"
    if names.fields is None:
        return None
    if name in names.fields:
        section_problem = _unfit(names.fields, name)
        if section_problem is None and names.fields[name].column.type == "any":
            return f"field {name} is of type any, which may be a list or a map: give it a type such as text"
        return section_problem
    if name in names.captures.always | names.captures.sometimes:
        return f"{name} is captured but not a field: add {name}: {name} to fields"
    near = closest(name, names.fields)
    meant = f", did you mean {near}?" if near else f": add {shown(name)}: {shown(name)} to fields"
    return f"{shown(name)} is not one of the fields{meant}"


def _unfit(fields: Mapping[str, ReadField] | None, name: str) -> str | None:
    type_ = fields[name].column.type if fields and name in fields else ""
    if type_ == "json" or type_.endswith("[]"):
        return f"field {name} is of type {type_}, but a key is made of single values: use another field"
    return None
