"""What names mean in generated code, and decoding only what is read, at most once.

An item is an image of undecoded attributes. A scope writes the decoding of an attribute into a gap before the code
that first reads it (`ItemScope.stage`), so that what stands behind a failed match or filter is never decoded.
"""

from __future__ import annotations

from collections.abc import Mapping

from dynaview.projections.attributes import Shape
from dynaview.projections.compiler.codegen import Code
from dynaview.projections.expressions import ELEMENT, INDEX, ITEM, NAME, Path


class ItemScope:
    """Captures and the attributes of the item in variable ``image``."""

    never_null = True

    def __init__(self, code: Code, shape: Shape, captures: Mapping[str, str]) -> None:
        self._shape = shape
        self._captures = captures
        self._gap = code.chunk()
        self._values: dict[Path, str] = {}
        self._attributes: dict[Path, str] = {}
        self._item = ""

    def stage(self, code: Code) -> None:
        """From here on, decode at this place of `code`: all that was decoded before is at hand here."""
        self._gap = code.chunk()

    def path(self, path: Path) -> tuple[str, Path]:
        """See `translation.Scope`."""
        name, *rest = path
        if name == ITEM:
            return self._value(tuple(rest)) if rest else (self.whole(), ())
        if name in self._captures:
            return self._captures[name], tuple(rest)
        return self._value(path)

    def whole(self) -> str:
        """The decoded item."""
        if not self._item:
            self._item = self._gap.assign("UNPACK(image)", "item")
        return self._item

    def knows(self, path: Path) -> bool:
        """Whether what stands at `path`, or around it, was decoded already."""
        return bool(self._item) or any(path[:length] in self._values for length in range(1, len(path) + 1))

    def attribute(self, path: Path) -> str:
        """A variable with the undecoded attribute at `path`, or None."""
        if path not in self._attributes:
            if len(path) == 1:
                source = self._shape.reference("image", path[0])
            else:
                outer = self.attribute(path[:-1])
                inner = f"{outer}.M.get({path[-1]!a})"
                if len(path) == 2:
                    inner = self._shape.member(outer, *path)
                source = f"{inner} if {outer} is not None and {outer}.M is not None else None"
            self._attributes[path] = self._gap.assign(source, "a")
        return self._attributes[path]

    def _value(self, path: Path) -> tuple[str, Path]:
        if self._item:
            return self._item, path
        for length in range(1, len(path) + 1):
            if path[:length] in self._values:
                return self._values[path[:length]], path[length:]
        attribute = self.attribute(path)
        # Most attributes are text or numbers, which need not search for their type.
        value = self._gap.assign(f"None if {attribute} is None else {attribute}.S", "v")
        decoded = f"value({attribute}) if {attribute}.N is None else number({attribute}.N)"
        self._gap.line(f"if {value} is None and {attribute} is not None: {value} = {decoded}")
        self._values[path] = value
        return value, ()


class ElementScope:
    """Captures and the fields of one element of ``each``, or of one dict that a Python function returned."""

    never_null = True

    def __init__(self, code: Code, item: ItemScope, captures: Mapping[str, str], element: str) -> None:
        self._gap = code.chunk()
        self._item = item
        self._captures = captures
        self._element = element
        self._values: dict[str, str] = {}
        self._reserved: dict[str, str] = {}

    def reserve(self, index: str, name: str) -> None:
        """Let ``_element``, ``_index`` and ``_key`` mean these variables."""
        self._reserved = {ELEMENT: self._element, INDEX: index, NAME: name}

    def path(self, path: Path) -> tuple[str, Path]:
        """See `translation.Scope`."""
        name, *rest = path
        if name == ITEM:
            return self._item.path(path)
        variable = self._captures.get(name) or self._reserved.get(name) or self._value(name)
        return variable, tuple(rest)

    def whole(self) -> str:
        """The element."""
        return self._element

    def _value(self, name: str) -> str:
        if name not in self._values:
            source = f"{self._element}.get({name!a}) if {self._element}.__class__ is dict else None"
            self._values[name] = self._gap.assign(source, "v")
        return self._values[name]
