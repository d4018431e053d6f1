"""What changed between two declarations of a view, in the words of the user's file, and what follows from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from dynaview.projections.declaration import FieldExpression, ViewDeclaration
from dynaview.projections.quantities import duration_text, share_text
from dynaview.projections.reading.fields import STORES
from dynaview.projections.rows import Field, Index, OpenSearchOptions, PostgresOptions, RedisOptions
from dynaview.views.declarations.codec import plain
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.declarations.functions import code_mark, compiled_by

Consequence: TypeAlias = Literal["nothing", "column", "rebuild"]

_LONGEST = 120
"""Characters of a value in a line."""

_INDEXES = "indexes "


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is declared otherwise. `before` and `after` are as a user would write them; None: not there."""

    path: str
    """As in messages about declarations: ``where``, ``fields.total``."""
    before: str | None
    after: str | None
    key: str = ""
    """What of a field differs: ``type``."""

    def __str__(self) -> str:
        """``fields.total: type integer -> decimal``, ``where: added status != 'DRAFT'``."""
        what = f"{self.key} " if self.key else ""
        if self.before is None:
            return f"{self.path}: {what}added {_short(self.after)}"
        if self.after is None:
            return f"{self.path}: {what}removed (it was {_short(self.before)})"
        return f"{self.path}: {what}{_short(self.before)} -> {_short(self.after)}"


UNSHOWN = Change("declaration", "as another version of dynaview read it", "as this one does")
"""What is said where fingerprints differ and nothing that a user writes does."""


@dataclass(frozen=True, slots=True)
class Recoded(Change):
    """A Python function whose code is not what it was; its `after` says so."""

    def __str__(self) -> str:
        return f"{self.path}: {self.after}"


@dataclass(frozen=True, slots=True)
class Difference:
    """All that changed, and what follows from the whole."""

    changes: tuple[Change, ...]
    consequence: Consequence
    """nothing: the rows are the same, and kept in the same way. column: rows only lack fields that may be null, which
    the store can add in place. rebuild: all else."""
    columns: tuple[str, ...] = ()
    """The fields that were added, where nothing else follows."""


SAME = Difference((), "nothing")
"""Nothing changed."""


def difference(old: ViewDeclaration, new: ViewDeclaration, tables: tuple[str, str] = ("", "")) -> Difference:
    """What changed from `old` to `new`, in the order of the new one. `tables` are the DynamoDB tables that their
    sources name. `old` may be as `decode` reads it.

    The consequence is nothing exactly where the fingerprints are equal.
    """
    before, after = fingerprint(old, tables[0]), fingerprint(new, tables[1])
    changes = (
        *_changes(_written(old, tables[0]), _written(new, tables[1])),
        *_field_changes(old, new),
        *_order(old, new),
        *_code(old, new),
    )
    if before == after:
        return Difference(changes, "nothing")
    if not changes:
        changes = (UNSHOWN,)
    columns = _added_columns(old, new)
    if columns and fingerprint(_without(new, columns), tables[1]) == before:
        return Difference(changes, "column", columns)
    return Difference(changes, "rebuild")


def described(view: ViewDeclaration, table: str) -> dict[str, str]:
    """A view as its user would write it: each key by its path, fields as ``fields.NAME``. What is left out takes its
    default."""
    fields = {f"fields.{name}": _as_one(field) or "" for name, field in _fields(view).items()}
    return {**_written(view, table), **fields}


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for path in dict.fromkeys((*after, *before)):
        if before.get(path) != after.get(path):
            # An index is its own name: what stands behind the blank.
            shown = "indexes" if path.startswith(_INDEXES) else path
            yield Change(shown, before.get(path), after.get(path))


def _field_changes(old: ViewDeclaration, new: ViewDeclaration) -> Iterator[Change]:
    """A field that comes or goes is one change; of others, what differs."""
    had, has = _fields(old), _fields(new)
    for name in dict.fromkeys((*has, *had)):
        path = f"fields.{name}"
        if name in had and name in has:
            before, after = had[name], has[name]
            for key in dict.fromkeys((*after, *before)):
                if before.get(key) != after.get(key):
                    yield Change(path, before.get(key), after.get(key), key)
        else:
            yield Change(path, _as_one(had.get(name)), _as_one(has.get(name)))


def _as_one(field: Mapping[str, str] | None) -> str | None:
    return None if field is None else "{" + ", ".join(f"{key}: {value}" for key, value in field.items()) + "}"


def _code(old: ViewDeclaration, new: ViewDeclaration) -> Iterator[Change]:
    if old.function is None or new.function is None or old.function_name != new.function_name:
        return
    if code_mark(old.function) != code_mark(new.function):
        before, after = compiled_by(old.function), compiled_by(new.function)
        said = "its code changed"
        if before != after:
            said = f"compiled by Python {after}, before by {before}, so that its code cannot be compared"
        yield Recoded(f"function {new.function_name}", None, said)


def _order(old: ViewDeclaration, new: ViewDeclaration) -> Iterator[Change]:
    if old.fields is None or new.fields is None:
        return
    both = old.fields.keys() & new.fields.keys()
    before, after = ([name for name in view.fields or () if name in both] for view in (old, new))
    if before != after:
        yield Change("fields", f"in the order {_list(before)}", f"in the order {_list(after)}")


def _added_columns(old: ViewDeclaration, new: ViewDeclaration) -> tuple[str, ...]:
    """Fields that are new and may be null, where the store can add them to what stands."""
    if (
        old.fields is None
        or new.fields is None
        or not isinstance(new.layout.options, PostgresOptions | OpenSearchOptions)
    ):
        return ()
    added = {name: field for name, field in new.fields.items() if name not in old.fields}
    nullable = all(not field.required and field.default is None for field in added.values())
    return tuple(added) if nullable else ()


def _without(view: ViewDeclaration, columns: Iterable[str]) -> ViewDeclaration:
    left = {name: field for name, field in (view.fields or {}).items() if name not in columns}
    options = view.layout.options
    if isinstance(options, OpenSearchOptions):
        mappings = {name: mapping for name, mapping in options.mappings.items() if name not in columns}
        options = replace(options, mappings=mappings)
    kept = tuple(field for field in view.layout.fields or () if field.name not in columns)
    return replace(view, fields=left, layout=replace(view.layout, fields=kept, options=options))


# A declaration as its user would write it, by path


def _written(view: ViewDeclaration, table: str) -> dict[str, str]:
    """Every key with its value; what is left at its default is left out."""
    kind = {RedisOptions: "redis", OpenSearchOptions: "opensearch", PostgresOptions: "postgres"}
    pairs: dict[str, str | None] = {
        "source": view.source,
        "source.table": table.rsplit("/", 1)[-1] or None,
        "match": _match(view.match),
        "where": view.where,
        "each": view.each,
        "python": view.function_name or None,
        "sink": f"{view.sink} ({STORES[kind[type(view.layout.options)]]})",
        "key": view.key if isinstance(view.key, str) else _list(view.key),
        "member": view.member,
        **_score(view.score),
    }
    pairs |= _options(view) | _upkeep(view)
    return _given(pairs)


def _given(pairs: Mapping[str, str | None]) -> dict[str, str]:
    return {path: value for path, value in pairs.items() if value is not None}


def _fields(view: ViewDeclaration) -> dict[str, dict[str, str]]:
    columns = {field.name: field for field in view.layout.fields or ()}
    return {name: _given(_field(field, columns.get(name))) for name, field in (view.fields or {}).items()}


def _match(match: tuple[Mapping[str, str], ...]) -> str | None:
    alternatives = [
        "{" + ", ".join(f"{attribute}: {pattern}" for attribute, pattern in sorted(one.items())) + "}" for one in match
    ]
    return None if not match else alternatives[0] if len(match) == 1 else _list(alternatives)


def _score(score: FieldExpression | None) -> dict[str, str | None]:
    return {} if score is None else {"score": score.expression, "score.default": _value(score.default)}


def _field(field: FieldExpression, column: Field | None) -> dict[str, str | None]:
    return {
        "from": field.expression,
        "type": field.type,
        "unit": field.unit,
        "default": _value(field.default),
        "required": "true" if field.required else None,
        "column": column.column if column is not None else None,
        "mapping": _value(column.mapping) if column is not None else None,
    }


def _options(view: ViewDeclaration) -> dict[str, str | None]:
    options = view.layout.options
    match options:
        case RedisOptions():
            expire = view.expire
            return {
                "type": options.type,
                "expire": expire.expression if expire is not None else _value(options.expire_after),
                "expire.unit": expire.unit if expire is not None else None,
            }
        case OpenSearchOptions():
            return {
                "index": options.index,
                **{f"settings.{name}": _value(value) for name, value in options.settings.items()},
                **{f"mappings.properties.{name}": _value(value) for name, value in options.mappings.items()},
            }
        case PostgresOptions():
            indexes = {_index(index) for index in options.indexes}
            return {
                "schema": options.schema,
                "table": options.table,
                **{f"{_INDEXES}{index}": index for index in sorted(indexes)},
            }


def _index(index: Index) -> str:
    words = ["unique"] if index.unique else []
    words += [index.method] if index.method != "btree" else []
    return " ".join([*words, ", ".join(index.columns)])


def _upkeep(view: ViewDeclaration) -> dict[str, str | None]:
    verify = view.verify
    return {
        "on_gap": view.on_gap,
        "on_change": view.on_change,
        "keep": duration_text(view.keep),
        "shrink": share_text(view.shrink),
        "verify.every": duration_text(verify.every) if verify is not None else None,
        "verify.sample": share_text(verify.sample) if verify is not None else None,
        "verify.repair": ("true" if verify.repair else "false") if verify is not None else None,
        "dead_letters.limit": str(view.dead_letters.limit),
        "dead_letters.within": duration_text(view.dead_letters.within),
    }


def _list(names: Iterable[str]) -> str:
    return f"[{', '.join(names)}]"


def _value(value: Any) -> str | None:
    """A default or a setting as text; texts that look like something else keep their quotes."""
    match value:
        case None:
            return None
        case str():
            return json.dumps(value, ensure_ascii=False)
        case Decimal():
            return str(value)
        case list():
            return _list(_value(one) or "null" for one in value)
        case Mapping():
            return "{" + ", ".join(f"{name}: {_value(one) or 'null'}" for name, one in sorted(value.items())) + "}"
    written = plain(value)
    return str(written["of"]) if isinstance(written, dict) else json.dumps(written)


def _short(text: str | None) -> str:
    line = " ".join((text or "").split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
