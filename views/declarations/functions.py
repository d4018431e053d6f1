"""Python projections as the control store knows them: what stands for their code, and for a function that is gone."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import CodeType, MethodType
from typing import Any

from dynaview.projections.declaration import PythonProjection, ViewDeclaration

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The version that compiles functions here; another one compiles them differently."""

_CONSTANTS = (type(None), bool, int, float, complex, str, bytes, Decimal, type(...))


@dataclass(frozen=True, slots=True)
class Lost:
    """Stands for a recorded function that has not been found again: it can be compared, but makes no rows."""

    mark: str
    """What `code_mark` answered for the function itself."""
    python: str
    """The version of Python that compiled it."""

    def __call__(self, item: dict[str, Any]) -> Any:
        raise LookupError("the Python function that built this generation is gone")


def code_mark(function: PythonProjection) -> str:
    """32 hex digits that change with the function's own code, its default arguments and what it encloses.

    The same in every process with the same minor version of Python. What the function calls does not count, nor do
    its comments and what its docstring says.
    """
    if isinstance(function, Lost):
        return function.mark
    return hashlib.sha256(json.dumps(_called(function, ())).encode()).hexdigest()[:32]


def compiled_by(function: PythonProjection) -> str:
    """The version of Python that compiled a function."""
    return function.python if isinstance(function, Lost) else PYTHON


def functions_of(views: Iterable[ViewDeclaration]) -> Mapping[str, PythonProjection]:
    """The Python functions of views, by name: among these a recorded one is looked for."""
    return {view.function_name: view.function for view in views if view.function is not None}


def _called(call: Any, above: tuple[int, ...]) -> list[Any]:
    """What a call runs, as plain data. `above` are the ids of what encloses it, against endless turns."""
    if id(call) in above:
        return ["itself"]
    inside = (*above, id(call))
    if isinstance(call, functools.partial):
        given = [_value(one, inside) for one in call.args]
        named = [[name, _value(one, inside)] for name, one in sorted(call.keywords.items())]
        return ["partial", _called(call.func, inside), given, named]
    if isinstance(call, MethodType):
        return ["method", type(call.__self__).__qualname__, _called(call.__func__, inside)]
    code = getattr(call, "__code__", None)
    if isinstance(code, CodeType):
        return [
            "function",
            _code(code, getattr(call, "__doc__", None)),
            [_value(one, inside) for one in call.__defaults__ or ()],
            [[name, _value(one, inside)] for name, one in sorted((call.__kwdefaults__ or {}).items())],
            [_value(_content(cell), inside) for cell in call.__closure__ or ()],
        ]
    wrapped = getattr(call, "__wrapped__", None)
    if wrapped is not None:
        return ["wrapper", type(call).__qualname__, _called(wrapped, inside)]
    own: Callable[..., Any] | None = getattr(type(call), "__call__", None)  # noqa: B004 - its code is wanted
    if isinstance(getattr(own, "__code__", None), CodeType):
        return ["object", type(call).__qualname__, _called(own, inside)]
    return ["built-in", getattr(call, "__qualname__", type(call).__qualname__)]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # nothing was ever put in it


def _value(value: Any, above: tuple[int, ...]) -> Any:
    """What a function holds besides its code. Of what may change while the process runs only the type counts."""
    if isinstance(value, _CONSTANTS):
        return [type(value).__name__, repr(value)]
    if isinstance(value, CodeType):
        return _code(value, None)
    if isinstance(value, tuple):
        return ["tuple", [_value(one, above) for one in value]]
    if isinstance(value, frozenset):  # its own order differs from process to process
        return ["frozenset", sorted(json.dumps(_value(one, above)) for one in value)]
    if callable(value) and not isinstance(value, type):
        return _called(value, above)
    return ["of type", type(value).__qualname__]


def _code(code: CodeType, documentation: str | None) -> list[Any]:
    constants = list(code.co_consts)
    if constants and isinstance(documentation, str) and constants[0] == documentation:
        constants[0] = None
    return [
        code.co_code.hex(),
        code.co_exceptiontable.hex(),
        [*code.co_names],
        [*code.co_varnames],
        [_value(one, ()) for one in constants],
    ]
