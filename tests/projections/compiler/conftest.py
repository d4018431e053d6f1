"""Builders for views, bound projections and changes, so that a test shows only what it is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from dynaview.projections.attributes import Shape, attribute
from dynaview.projections.changes import Body, Change
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import At, FieldExpression, ViewDeclaration
from dynaview.projections.projection import Bound, Projection, ViewType, shape_of
from dynaview.projections.rows import (
    EXPIRE,
    SCORE,
    Field,
    Layout,
    OpenSearchOptions,
    PostgresOptions,
    RedisOptions,
)

AT = At("views.v", "dynaview.yaml", 7)


def _field(expression: str, type_: str = "any", **more: Any) -> FieldExpression:
    known = {"unit": None, "default": None, "required": False, **more}
    return FieldExpression(expression, type_, known["unit"], known["default"], known["required"], AT)


def _view(
    *,
    match: Mapping[str, str] | list[Mapping[str, str]] | None = None,
    where: str | None = None,
    each: str | None = None,
    function: Callable[[dict[str, Any]], Any] | None = None,
    key: str | tuple[str, ...] = "{id}",
    member: str | None = None,
    score: FieldExpression | None = None,
    expire: FieldExpression | None = None,
    fields: Mapping[str, str | FieldExpression] | None = None,
    sink: str = "opensearch",
) -> ViewDeclaration:
    """A view. Fields given as text are of type any; `fields` None means none, or open ones for a function."""
    alternatives = [match] if isinstance(match, Mapping) else (match or [])
    planned = (
        None
        if fields is None and function
        else {name: _field(one) if isinstance(one, str) else one for name, one in (fields or {}).items()}
    )
    laid = None if planned is None else [Field(name, one.type) for name, one in planned.items()]
    options: Any = OpenSearchOptions("i", {}, {})
    if sink == "postgres":
        options = PostgresOptions("t")
    if sink in ("hash", "string", "set", "sorted_set"):
        options = RedisOptions(sink, expire_field=expire is not None)  # type: ignore[arg-type]  # one of the literals
        if sink in ("set", "sorted_set"):
            laid = [Field(SCORE, "double")] if sink == "sorted_set" else []
        if expire is not None and laid is not None:
            laid = [*laid, Field(EXPIRE, "bigint")]
    layout = Layout("v", key if isinstance(key, tuple) else (), None if laid is None else tuple(laid), options)
    return ViewDeclaration(
        name="v",
        source="s",
        sink="k",
        match=tuple(alternatives),
        where=where,
        each=each,
        function=function,
        function_name="shop:card" if function else "",
        key=key,
        member=member,
        score=score,
        expire=expire,
        fields=planned,
        layout=layout,
        on_gap="stop",
        at=AT,
        places={"match": At("views.v.match", "dynaview.yaml", 8), "key": At("views.v.key", "dynaview.yaml", 9)},
    )


@dataclass
class Table:
    """A view fitted to a table, driven with plain items."""

    projection: Projection
    bound: Bound
    shape: Shape
    key: tuple[str, ...]

    def rows(self, item: Mapping[str, Any]) -> Any:
        return self.bound.rows(self.shape.pack(item))

    def inserts(self, item: Mapping[str, Any]) -> Any:
        return self.bound.inserts(self.shape.pack(item))

    def change(self, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, event: str = "") -> Change[Any]:
        item = new if new is not None else old
        assert item is not None
        named = event or ("REMOVE" if new is None else "INSERT" if old is None else "MODIFY")
        key = {name: attribute(item[name]) for name in self.key if name in item}
        pack = self.shape.pack
        return Change(
            named,
            Body("1", key, 0.0, None if new is None else pack(new), None if old is None else pack(old)),
        )

    def writes(self, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, version: int = 5) -> Any:
        return self.bound.writes(self.change(old, new), version)


def _table(
    declared: ViewDeclaration, key: tuple[str, ...] = ("pk", "sk"), images: ViewType = "NEW_AND_OLD_IMAGES"
) -> Table:
    projection = compile_view(declared)
    shape = shape_of([projection], key)
    return Table(projection, projection.bind(shape, key, images), shape, key)


@pytest.fixture(scope="session")
def field() -> Callable[..., FieldExpression]:
    """A field's expression: ``field("total", "decimal", default=...)``."""
    return _field


@pytest.fixture(scope="session")
def view() -> Callable[..., ViewDeclaration]:
    """A view declaration from the parts a test names."""
    return _view


@pytest.fixture(scope="session")
def table() -> Callable[..., Any]:
    """A declaration bound to a table: ``table(view(...), key=("pk",), images="NEW_IMAGE")``."""
    return _table
