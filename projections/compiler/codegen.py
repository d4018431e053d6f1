"""Python source under construction: lines, constants, and which part of a declaration each line works for.

Compiled projections are generated Python. User text never becomes code: names and text enter as `ascii` literals,
other values as constants by name. Lines remember their place (``field total``), so that an error at run time is
traced back to what the user wrote at no cost on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

_INDENT = " "
DEEPEST = 12
"""From this indentation on, what is nested goes into a function of its own: Python allows 20 loops in each other."""


class Code:
    """The body of one function; `chunk` opens a gap that may be filled after the lines behind it are written."""

    def __init__(self, module: Module, depth: int) -> None:
        self._module = module
        self._parts: list[tuple[str, str] | Code] = []
        self.depth = depth

    @property
    def place(self) -> str:
        """What the lines written from now on work for."""
        return self._module.place

    def line(self, text: str) -> None:
        """Add a line at the current depth."""
        self._parts.append((_INDENT * self.depth + text, self._module.place))

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """Add ``header:`` and indent what is added inside."""
        self.line(header + ":")
        self.depth += 1
        yield
        self.depth -= 1

    def chunk(self) -> Code:
        """A gap at this place and depth."""
        inner = Code(self._module, self.depth)
        self._parts.append(inner)
        return inner

    def add(self, other: Code) -> None:
        """Put the lines of `other`, written at this depth, here."""
        self._parts.append(other)

    def assign(self, expression: str, prefix: str = "t") -> str:
        """Keep the value of `expression` in a new variable; its name."""
        name = self._module.fresh(prefix)
        self.line(f"{name} = {expression}")
        return name

    @property
    def empty(self) -> bool:
        """Whether no line was added."""
        return not any(not isinstance(part, Code) or not part.empty for part in self._parts)

    def lines(self) -> Iterator[tuple[str, str]]:
        """The lines with their places."""
        for part in self._parts:
            if isinstance(part, Code):
                yield from part.lines()
            else:
                yield part


@dataclass
class Module:
    """All functions generated for one projection, their constants and their names."""

    place: str = ""
    """What the lines written from now on work for."""
    constants: dict[str, Any] = field(default_factory=dict)
    _functions: list[Code] = field(default_factory=list)
    _count: int = 0

    def fresh(self, prefix: str) -> str:
        """A name that nothing else has."""
        self._count += 1
        return f"{prefix}{self._count}"

    def function(self, name: str, parameters: str) -> Code:
        """A new function on the top level of the module."""
        head = Code(self, 0)
        head.line(f"def {name}({parameters}):")
        body = Code(self, 1)
        head.add(body)
        self._functions.append(head)
        return body

    @contextmanager
    def working_for(self, place: str) -> Iterator[None]:
        """Lines written inside belong to `place`."""
        before, self.place = self.place, place
        yield
        self.place = before

    def constant(self, value: Any) -> str:
        """A name for `value`, however plain: Python warns of some that stand in code (``'a' is None``, ``True[0]``)."""
        name = self.fresh("K")
        self.constants[name] = value
        return name

    def build(self, title: str) -> Built:
        """Compile what was written."""
        lines = [line for code in self._functions for line in code.lines()]
        source = "\n".join(text for text, _ in lines)
        filename = f"<dynaview {title}>"
        names = dict(self.constants)
        exec(compile(source, filename, "exec"), names)  # only what this package generated
        return Built(names, filename, tuple(place for _, place in lines), source)


@dataclass(frozen=True)
class Built:
    """Compiled functions by name."""

    names: Mapping[str, Any]
    filename: str
    places: tuple[str, ...]
    source: str

    def function(self, name: str) -> Callable[..., Any]:
        """A function of the module."""
        found: Callable[..., Any] = self.names[name]
        return found

    def place(self, traceback: TracebackType | None) -> str:
        """What the outermost generated line in `traceback` worked for."""
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename == self.filename:
                return self.places[traceback.tb_lineno - 1]
            traceback = traceback.tb_next
        return ""
