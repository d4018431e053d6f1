"""Compiling a view: from its declaration to rows and writes (the contract stands in `projection`)."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from dynaview.projections.attributes import Attr, AttributeValueError, Image, Shape, item_key
from dynaview.projections.changes import SCANNED, Change
from dynaview.projections.columns import ProjectedPage
from dynaview.projections.compiler.analysis import Plan, plan_view
from dynaview.projections.compiler.codegen import Built, Module
from dynaview.projections.compiler.once import once
from dynaview.projections.compiler.page import RowFunction, project_page
from dynaview.projections.compiler.row_function import CALLED, write_flat_function, write_function
from dynaview.projections.compiler.runtime import caller
from dynaview.projections.declaration import Problem, ViewDeclaration
from dynaview.projections.patterns import Pattern
from dynaview.projections.projection import Bound, OldRowsUnknown, Projection, ProjectionError, ViewType
from dynaview.projections.rows import RowKey, RowValues, Rule, Write

_BOTH: ViewType = "NEW_AND_OLD_IMAGES"
_REMEDY = (
    f"give the table a stream with {_BOTH} (a stream's view type cannot be changed: switch the stream off and on again "
    "with the new one; dynaview run --enable-stream does it for a table without a stream)"
)
_KEYS = Shape(None)
"""The shape of a change's key, which always comes as a dict."""

_Key: TypeAlias = Mapping[str, Attr]


@once
def compile_view(view: ViewDeclaration) -> Projection:
    """Compile a checked view; the same declaration gives the same projection.

    Raises `ExpressionError` or `PatternError` for texts that checking would have refused.
    """
    return CompiledView(plan_view(view))


class CompiledView:
    """A `Projection`."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.attributes = plan.attributes
        self.before = plan.before_attributes
        self.members = plan.members

    def problems(self, key: tuple[str, ...], images: ViewType) -> list[Problem]:
        """See `Projection.problems`."""
        plan = self._plan
        found = [
            self._problem(
                f"{attribute} is not a key attribute of the table (its key is {', '.join(key)}): match key "
                "attributes, and use where for others",
                "match",
            )
            for attribute in sorted(plan.matched - set(key))
        ]
        if found or images == _BOTH or within(plan.attributes, key):
            return found
        if images != "NEW_IMAGE":
            reads = "the whole item" if plan.attributes is None else ", ".join(sorted(plan.attributes - set(key)))
            found.append(self._problem(f"the stream carries {images}, but this view reads {reads}: {_REMEDY}"))
        elif not within(plan.key_attributes, key):
            found.append(
                self._problem(
                    f"{self._needs_old_image(key)}, so only its old image tells which rows a changed or deleted item "
                    f"leaves behind, and the stream carries {images}: {_REMEDY}, "
                    "or make the row key from key attributes only",
                    "each" if plan.each is not None else "key",
                )
            )
        return found

    def bind(self, shape: Shape, key: tuple[str, ...], images: ViewType) -> Bound:
        """See `Projection.bind`."""
        generated = _generate(self._plan, shape, key)
        fixed = within(self._plan.key_attributes, key)
        owned = names_owner(self._plan, key)
        if images == _BOTH:
            repeats = self._plan.view.function is None
            return _FromBothImages(generated, shape, key, owned, fixed, repeats)
        if within(self._plan.attributes, key):
            return _FromKeys(generated, shape, key, owned, fixed)
        if images == "NEW_IMAGE" and fixed:
            return _FromNewImages(generated, shape, key, owned, fixed)
        raise ValueError("\n".join(str(problem) for problem in self.problems(key, images)))

    def _needs_old_image(self, key: tuple[str, ...]) -> str:
        plan = self._plan
        if plan.each is not None:
            return "each yields rows from the item's content"
        if plan.view.function is not None:
            return f"the row key comes from what {plan.view.function_name} returns"
        read = plan.key_attributes
        return f"the row key reads {'the whole item' if read is None else ', '.join(sorted(read - set(key)))}"

    def _problem(self, message: str, path: str = "") -> Problem:
        view = self._plan.view
        return Problem(view.places.get(path, view.at), message)


class _Generated:
    """The generated functions of a bound view: rows and row keys of an image, and, where the key attributes of an item
    are enough to tell, of a change's key."""

    def __init__(self, built: Built, alternatives: tuple[Mapping[str, Pattern], ...]) -> None:
        self.rows: Callable[[Image], list[tuple[RowKey, RowValues]]] = built.function("rows")
        self.keys: Callable[[Image], list[RowKey]] = built.function("keys")
        self.key_rows: Callable[[_Key], list[tuple[RowKey, RowValues]]] = built.names.get("key_rows", self.rows)
        self.row: RowFunction | None = built.names.get("row")
        """Where a page of changes may be projected at once."""
        self._key_keys: Callable[[_Key], list[RowKey]] | None = built.names.get("key_keys")
        self._alternatives = alternatives

    def key_keys(self, key: _Key) -> list[RowKey]:
        """The row keys that an item of this key has or had."""
        if self._key_keys is not None:
            return self._key_keys(key)
        if not any(_may_match(alternative, key) for alternative in self._alternatives):
            return []
        raise ProjectionError("the record of a REMOVE carries no old image, which tells the rows to delete")


def _generate(plan: Plan, shape: Shape, key: tuple[str, ...]) -> _Generated:
    module = Module(constants=dict(CALLED))
    write_function(module, "rows", plan, shape, values=True)
    write_function(module, "keys", plan, shape.before, values=False)
    if within(plan.attributes, key):
        write_function(module, "key_rows", plan, _KEYS, values=True)
    if within(plan.attributes, key) or within(plan.key_attributes, key):
        # A filter on other attributes cannot be asked: the row is deleted whether or not it was there.
        filtered = within(plan.item_reads(plan.where), key)
        write_function(module, "key_keys", plan, _KEYS, values=False, where=filtered, call=False)
    if not plan.many and plan.view.layout.fields is not None and not names_owner(plan, key):
        write_flat_function(module, "row", plan, shape)
    places: list[Built] = []

    def failed(error: Exception) -> ProjectionError:
        # Decoding errors show the number that could not be read.
        reason = "an attribute value that DynamoDB does not have" if isinstance(error, AttributeValueError) else error
        return ProjectionError(f"{places[0].place(error.__traceback__)}: {reason}")

    module.constants["FAILED"] = failed
    module.constants["UNPACK"] = shape.unpack
    if plan.view.function is not None:
        module.constants["CALL"] = caller(plan.view.function, plan.view.function_name)
    places.append(module.build(plan.view.name))
    return _Generated(places[0], plan.alternatives)


def names_owner(plan: Plan, key: tuple[str, ...]) -> bool:
    """Whether rows name the item that wrote them. So all rows of an item can be found: by its key where that tells
    them, else by who wrote them."""
    return not (within(plan.key_attributes, key) and plan.holds_item_key(key))


def within(attributes: frozenset[str] | None, key: tuple[str, ...]) -> bool:
    """Whether these attributes (None: the whole item) are known from the item key alone."""
    return attributes is not None and attributes <= set(key)


def _may_match(alternative: Mapping[str, Pattern], key: _Key) -> bool:
    """Whether an item of this key can match, as far as its key tells."""
    known = ((pattern, key[name]) for name, pattern in alternative.items() if name in key)
    return all(attr.S is None or pattern.match(attr.S) is not None for pattern, attr in known)


def owner(key: Mapping[str, Attr]) -> str:
    """The short hash by which rows name the item that wrote them: 16 hexadecimal digits of its `item_key`."""
    try:
        return hashlib.blake2b(item_key(key).encode(errors="surrogatepass"), digest_size=8).hexdigest()
    except (AttributeValueError, KeyError):
        raise ProjectionError("the item's key is not text, a number or bytes") from None


class _Bound:
    """What all bound views share. `rows` is the generated function itself: nothing stands between."""

    def __init__(self, generated: _Generated, shape: Shape, key: tuple[str, ...], owned: bool, fixed: bool) -> None:
        self.rows = generated.rows
        self._generated = generated
        self._shape = shape
        self._key = key
        self._owned = owned
        self._fixed = fixed
        """Whether the key attributes alone tell the keys of all rows."""

    def inserts(self, image: Image) -> list[Write]:
        """See `Bound.inserts`."""
        rows = self.rows(image)
        if not rows:
            return []
        by = ""
        if self._owned:
            attributes = {name: self._shape.get(image, name) for name in self._key}
            by = owner({name: attr for name, attr in attributes.items() if attr is not None})
        return [Write(key, values, SCANNED, by, Rule.ABSENT) for key, values in rows]

    def page(self, changes: Sequence[Change[Any]], versions: Sequence[int]) -> ProjectedPage | None:
        """See `Bound.page`."""
        row = self._generated.row
        return None if row is None else project_page(row, self._left, changes, versions)

    def _left(self, change: Change[Any]) -> list[RowKey]:
        """The row keys that the item may have had before a change that leaves it none."""
        if change.event == "INSERT":
            return []
        return self._generated.key_keys(change.body.key)

    def _writes(
        self, change: Change[Any], version: int, rows: list[tuple[RowKey, RowValues]], before: list[RowKey]
    ) -> list[Write]:
        """Upserts of all rows, changed or not (their version has to move), and deletes of keys that are gone."""
        if not rows and not before:
            return []
        by = owner(change.body.key) if self._owned else ""
        writes = [Write(key, values, version, by) for key, values in rows]
        if before:
            now = {key for key, _ in rows}
            writes += [Write(key, None, version, by) for key in before if key not in now]
        return writes

    def _fixed_keys(self, change: Change[Any]) -> list[RowKey]:
        """The keys of the rows that the item can have at all, where its key tells."""
        if not self._fixed:
            return []
        try:
            return self._generated.key_keys(change.body.key)
        except ProjectionError:  # as ever: it never had any
            return []

    def _name(self, error: ProjectionError, change: Change[Any], version: int, keys: Iterable[RowKey]) -> None:
        """Let the error say that the rows under these keys have to go."""
        try:
            by = owner(change.body.key) if self._owned else ""
        except ProjectionError:  # no item that ever had a row
            return
        error.asked = [Write(key, None, version, by) for key in keys]


class _FromBothImages(_Bound):
    """The stream carries old and new images: what the old one yields and the new one does not is deleted."""

    def __init__(
        self, generated: _Generated, shape: Shape, key: tuple[str, ...], owned: bool, fixed: bool, repeats: bool
    ) -> None:
        """`repeats`: what cannot be made of a state could not be made of it before. Not so with Python functions."""
        super().__init__(generated, shape, key, owned, fixed)
        self._repeats = repeats

    def writes(self, change: Change[Any], version: int) -> list[Write]:
        """See `Bound.writes`."""
        body = change.body
        try:
            if _removes(change):
                rows = []
            elif body.new is None:
                raise ProjectionError(f"the record of {_article(change.event)} carries no new image")
            else:
                rows = self.rows(body.new)
        except ProjectionError as error:
            self._leave_none(error, change, version)
            raise
        if rows and self._fixed:
            # Where the item key alone tells the row key, an item that has its row left none behind.
            if self._owned:
                return self._writes(change, version, rows, [])
            return [Write(key, values, version) for key, values in rows]
        before, are_all = self._before(change)
        writes = self._writes(change, version, rows, before)
        if not are_all:
            raise self._unknown(change, writes)
        return writes

    def _left(self, change: Change[Any]) -> list[RowKey]:
        old = change.body.old
        return super()._left(change) if old is None else self._generated.keys(old)

    def _before(self, change: Change[Any]) -> tuple[list[RowKey], bool]:
        """The keys of the rows that the item had, and whether these are all."""
        body = change.body
        if body.old is not None:
            try:
                return self._generated.keys(body.old), True
            except ProjectionError:
                return self._fixed_keys(change), self._fixed or self._repeats
        if change.event == "INSERT":
            return [], True
        try:
            return self._generated.key_keys(body.key), True
        except ProjectionError:
            return [], self._fixed

    def _leave_none(self, error: ProjectionError, change: Change[Any], version: int) -> None:
        """Let the error name the rows that have to go: those of both images, as far as they tell."""
        before, are_all = self._before(change)
        keys = dict.fromkeys([*before, *self._fixed_keys(change)])
        if change.body.new is not None:
            with contextlib.suppress(ProjectionError):
                keys |= dict.fromkeys(self._generated.keys(change.body.new))
        self._name(error, change, version, keys)
        if not are_all:
            with contextlib.suppress(ProjectionError):
                error.owner = owner(change.body.key)

    def _unknown(self, change: Change[Any], writes: list[Write]) -> OldRowsUnknown:
        error = OldRowsUnknown("the old image does not tell which rows the item had")
        error.asked, error.owner = writes, owner(change.body.key)
        return error


class _FromNewImages(_Bound):
    """The stream carries new images: the key attributes tell which row an item has, so what is gone can be deleted."""

    def writes(self, change: Change[Any], version: int) -> list[Write]:
        """See `Bound.writes`."""
        if _removes(change):
            return self._writes(change, version, [], self._generated.key_keys(change.body.key))
        try:
            if change.body.new is None:
                raise ProjectionError(f"the record of {_article(change.event)} carries no new image")
            rows = self.rows(change.body.new)
        except ProjectionError as error:
            self._name(error, change, version, self._fixed_keys(change))
            raise
        gone = not rows and change.event != "INSERT"
        return self._writes(change, version, rows, self._generated.key_keys(change.body.key) if gone else [])


class _FromKeys(_Bound):
    """The view reads key attributes only, so every stream carries enough, and a row never changes."""

    def writes(self, change: Change[Any], version: int) -> list[Write]:
        """See `Bound.writes`."""
        key = change.body.key
        if _removes(change):
            return self._writes(change, version, [], self._generated.key_keys(key))
        return self._writes(change, version, self._generated.key_rows(key), [])


def _removes(change: Change[Any]) -> bool:
    if change.event == "REMOVE":
        return True
    if change.event in ("INSERT", "MODIFY"):
        return False
    raise ProjectionError(f"a stream record of an unknown kind: {change.event[:20]!r}")


def _article(event: str) -> str:
    return f"an {event}" if event == "INSERT" else f"a {event}"
