"""Reading one view, whatever its form."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from dynaview.projections.declaration import (
    KEEP,
    SHRINK,
    At,
    DeadLetterLimits,
    FieldExpression,
    SinkDeclaration,
    SourceDeclaration,
    Verification,
    ViewDeclaration,
)
from dynaview.projections.expressions import Expression
from dynaview.projections.quantities import QuantityError, duration, share
from dynaview.projections.reading.document import Path, path_text, shown
from dynaview.projections.reading.fields import ReadField, read_expression, read_fields
from dynaview.projections.reading.keys import Names, read_match
from dynaview.projections.reading.layouts import Kept, read_kept
from dynaview.projections.reading.lint import lint_filter
from dynaview.projections.reading.python import Function, PythonError, check
from dynaview.projections.reading.schema import NAME
from dynaview.projections.reading.section import Section
from dynaview.projections.suggestions import did_you_mean

Resolve = Callable[[str, str], Function]
"""Finds ``module:function`` as written in a file (second argument); raises `PythonError`."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a view may refer to. Names that are declared but wrong map to None: that has been told."""

    sources: Mapping[str, SourceDeclaration | None]
    sinks: Mapping[str, SinkDeclaration | None]
    resolve: Resolve


@dataclass(frozen=True, slots=True)
class ReadView:
    """A view and what no other view of the same store may share (see `Kept.target`)."""

    view: ViewDeclaration | None
    """None where something is wrong with it, which has been told."""
    sink: SinkDeclaration | None
    target: Hashable | None
    at: At


def read_view(section: Section, name: str, function: Function | None, around: Surroundings) -> ReadView:
    """Read the view `name`; `function` is the decorated one, where that is its form."""
    before = len(section.problems)
    source = _known(section, "source", around.sources)
    sink = _known(section, "sink", around.sinks)
    function, is_python = _function(section, function, around.resolve)
    kind = sink.kind if sink is not None else None
    alternatives, captures = read_match(section.section("match"))
    where = read_expression(section, "where", each=False)
    each = read_expression(section, "each", each=False)
    matched = {name for alternative in alternatives for name in alternative}
    lint_filter(section, "where", where, captures.always | matched)
    if is_python and section.has("each"):
        section.problem(
            "a Python function makes several rows by returning a list: remove each, or the function", "each"
        )
    fields = _fields(section, sink, is_python)
    names = Names(captures, fields, each=section.has("each"), function=is_python)
    kept = read_kept(section, name, kind, names) if kind is not None else Kept(None, None, None)
    keep, shrink = quantity(section, "keep", duration), quantity(section, "shrink", share)
    verify = _verification(section.section("verify")) if section.has("verify") else None
    wrong = any(not problem.warns for problem in section.problems[before:]) or section.is_misshapen()
    if wrong or source is None or sink is None or kept.layout is None or kept.key is None:
        return ReadView(None, sink, kept.target, section.at())
    view = ViewDeclaration(
        name=name,
        source=source.name,
        sink=sink.name,
        match=alternatives,
        where=_text(where),
        each=_text(each),
        function=function.call if function is not None else None,
        function_name=function.name if function is not None else "",
        key=kept.key,
        member=kept.member,
        score=kept.score,
        expire=kept.expire,
        fields=None if fields is None else _expressions(fields, kept.key),
        layout=kept.layout,
        on_gap="rebuild" if section.text("on_gap") == "rebuild" else "stop",
        at=section.at(),
        places=dict(_places(section, ())),
        dead_letters=_limits(section.section("dead_letters")),
        on_change=_on_change(section.text("on_change")),
        keep=KEEP if keep is None else keep,
        shrink=SHRINK if shrink is None else shrink,
        verify=verify,
    )
    return ReadView(view, sink, kept.target, section.at())


def _limits(section: Section) -> DeadLetterLimits:
    default = DeadLetterLimits()
    limit, within = section.get("limit"), section.get("within")
    return DeadLetterLimits(
        default.limit if limit is None else int(limit), default.within if within is None else float(within)
    )


def _on_change(text: str | None) -> Literal["rebuild", "ask", "stop"]:
    return "rebuild" if text == "rebuild" else "stop" if text == "stop" else "ask"


def _verification(section: Section) -> Verification | None:
    every = quantity(section, "every", partial(duration, least=1))
    sample = quantity(section, "sample", partial(share, above_zero=True))
    repair = section.get("repair") is True
    return None if every is None else Verification(every, 1.0 if sample is None else sample, repair)


def quantity(section: Section, key: str, read: Callable[[Any], float]) -> float | None:
    """The duration or share under `key`; None where there is none or it makes no sense, which has been told."""
    written = section.get(key)
    try:
        return None if written is None else read(written)
    except QuantityError as error:
        section.problem(str(error), key)
        return None


def _known(section: Section, key: str, declared: Mapping[str, Any]) -> Any:
    name = section.text(key)
    if name is None:
        return None
    if name not in declared:
        none = "" if declared else f": none are declared; add it under {key}s"
        known = [other for other in declared if re.fullmatch(NAME, other)]
        section.problem(f"no {key} is called {shown(name)}{did_you_mean(name, known)}{none}", key)
        return None
    return declared[name]


def _function(section: Section, decorated: Function | None, resolve: Resolve) -> tuple[Function | None, bool]:
    """The view's function, and whether it is meant to have one."""
    try:
        if decorated is not None:
            if section.has("python"):
                section.problem("the decorated function makes the rows: remove python", "python")
            check(decorated.call)
            return decorated, True
        text = section.text("python")
        if text is not None:
            return resolve(text, section.document.file), True
    except PythonError as error:
        section.problem(str(error), *(() if decorated is not None else ("python",)))
    return None, decorated is not None or section.has("python")


def _fields(section: Section, sink: SinkDeclaration | None, is_python: bool) -> dict[str, ReadField] | None:
    """None where a Python function leaves them open, or where it has been told that they are missing."""
    members = sink is not None and sink.kind == "redis" and section.text("type") in ("set", "sorted_set")
    if not section.has("fields"):
        if is_python:
            return None
        if sink is not None and not members:
            section.problem("fields is missing: say what a row holds, as in fields: {name: name}")
        return {} if members else None
    if section.section("fields").path in section.misshapen:
        return None
    return read_fields(section.section("fields"), sink.kind if sink is not None else None, each=section.has("each"))


def _expressions(fields: Mapping[str, ReadField], key: str | tuple[str, ...]) -> dict[str, FieldExpression]:
    """The fields' expressions; those of key columns are required."""
    columns = key if isinstance(key, tuple) else ()
    return {
        name: replace(field.expression, required=True) if name in columns else field.expression
        for name, field in fields.items()
    }


def _text(expression: Expression | None) -> str | None:
    return expression.text if expression is not None else None


def _places(section: Section, below: Path) -> Iterator[tuple[str, At]]:
    for key in section.written():
        path = (*below, key)
        yield path_text(path), section.at(key)
        yield from _places(section.section(key), path)
