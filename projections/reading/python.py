"""The Python form of declarations: functions under `@projection(...)`.

A decorated function stays what it was and can be called and tested as such. Its keys are those of a view in YAML and
are checked in the same way, when a declaration is loaded; decorating never fails.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import ModuleType
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from dynaview.projections.declaration import PythonProjection
from dynaview.projections.reading.document import Document
from dynaview.projections.suggestions import did_you_mean

F = TypeVar("F", bound=Callable[..., Any])


class PythonError(ValueError):
    """A Python function that can't be a projection. Says what to do about it."""


@dataclass(frozen=True, slots=True)
class Function:
    """A Python projection and its name (``module:function``) for messages and fingerprints."""

    name: str
    call: PythonProjection


@dataclass(frozen=True, slots=True)
class Declared:
    """A decorated function, still unchecked."""

    name: str
    keys: Mapping[str, Any]
    function: Function
    file: str
    line: int
    """Where the decorator stands."""

    def document(self) -> Document:
        """The declaration as if it stood in a file; every key has the decorator's line."""
        return Document(self.file, {"views": {self.name: dict(self.keys)}}, {}, first_line=self.line)


class ViewKeys(TypedDict, total=False):
    """The keys of a view: see docs/declarations.md."""

    name: str
    """The view's name; by default the function's."""
    source: str
    sink: str
    match: Mapping[str, str] | Sequence[Mapping[str, str]]
    where: str
    key: str | Sequence[str]
    fields: Mapping[str, str | Mapping[str, Any]]
    on_gap: Literal["stop", "rebuild"]
    on_change: Literal["rebuild", "ask", "stop"]
    keep: str | float
    shrink: str | float
    verify: Mapping[str, Any]
    dead_letters: Mapping[str, float]
    type: Literal["hash", "string", "set", "sorted_set"]
    member: str
    score: str | Mapping[str, Any]
    expire: int | Mapping[str, Any]
    index: str
    settings: Mapping[str, Any]
    mappings: Mapping[str, Any]
    schema: str
    table: str
    indexes: Sequence[str | Sequence[str] | Mapping[str, Any]]


_declared: defaultdict[str, list[Declared]] = defaultdict(list)
"""By module, in order: two functions of one name in a module both count, so that the clash is told."""


def projection(**keys: Unpack[ViewKeys]) -> Callable[[F], F]:
    """Declare the view that the decorated function makes.

    The function takes an item, a dict of plain values with the captures of ``match`` beside the attributes, and
    returns a dict of fields, a list of such dicts (one row each), or None for no row. It must depend on nothing else.
    """

    def declare(function: F) -> F:
        code = getattr(inspect.unwrap(function), "__code__", None)
        caller = sys._getframe(1)
        given = {name: _plain(value) for name, value in keys.items()}
        name = given.pop("name", None) or getattr(function, "__name__", "")
        _declared[function.__module__].append(
            Declared(
                name=str(name),
                keys=given,
                function=Function(f"{function.__module__}:{getattr(function, '__qualname__', name)}", function),
                file=code.co_filename if code else caller.f_code.co_filename,
                line=code.co_firstlineno if code else caller.f_lineno,
            )
        )
        return function

    return declare


def declared(module: ModuleType) -> list[Declared]:
    """The decorated functions that `module` defines or has imported, in that order."""
    own = list(_declared[module.__name__])
    held = [value for value in vars(module).values() if inspect.isfunction(value)]
    others = (each for name, all_ in list(_declared.items()) if name != module.__name__ for each in all_)
    return own + [each for each in others if any(each.function.call is value for value in held)]


def declaration_of(function: Callable[..., Any]) -> Declared | None:
    """What `@projection` said above this function; None where it did not."""
    each = (one for all_ in list(_declared.values()) for one in all_)
    return next((one for one in each if one.function.call is function), None)


def forget(module_name: str) -> None:
    """Drop what a module has declared, before it is executed anew."""
    _declared.pop(module_name, None)


def function_of(module: ModuleType, name: str, shown: str) -> Function:
    """The projection `name` of `module`; `shown` is how the user wrote both. Raises `PythonError`."""
    found = getattr(module, name, None)
    if found is None:
        callables = [each for each, value in vars(module).items() if inspect.isfunction(value)]
        raise PythonError(f"the module has no function {name}{did_you_mean(name, callables)}")
    check(found)
    return Function(shown, found)


def check(function: Any) -> None:
    """Raises `PythonError` where `function` can't be called with one item and answer at once."""
    if inspect.isclass(function) or not callable(function):
        raise PythonError(
            "not a function: name a function that takes an item and returns a dict, a list of dicts or None"
        )
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise PythonError("a projection does no I/O, so it can't be async: use a plain def")
    if inspect.isgeneratorfunction(function):
        raise PythonError("a projection returns its rows: return a list of dicts instead of yielding them")
    try:
        inspect.signature(function).bind({})
    except TypeError:
        raise PythonError("a projection takes exactly one argument, the item: def view(item): ...") from None
    except ValueError:
        return  # written in C, without a signature


def _plain(value: Any) -> Any:
    """What YAML would have held."""
    match value:
        case float():
            # What is not a number can't be compared as a Decimal.
            return Decimal(repr(value)) if math.isfinite(value) else value
        case Mapping():
            return {str(name): _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
    return value
