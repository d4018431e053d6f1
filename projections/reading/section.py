"""A mapping of a document while it is read: its values, its places, and where problems go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dynaview.projections.declaration import At, Problem
from dynaview.projections.reading.document import Document, Path


@dataclass(frozen=True, slots=True)
class Section:
    """What the schema refused is absent here, so that nobody complains of it a second time."""

    document: Document
    path: Path
    misshapen: frozenset[Path]
    problems: list[Problem]

    def get(self, key: str | int) -> Any:
        """The value under `key`; None where there is none or it is misshapen."""
        path = (*self.path, key)
        if path in self.misshapen:
            return None
        data = self.value()
        if isinstance(data, dict):
            return data.get(key)
        return data[key] if isinstance(data, list) and isinstance(key, int) and key < len(data) else None

    def text(self, key: str | int) -> str | None:
        found = self.get(key)
        return found if isinstance(found, str) else None

    def section(self, key: str | int) -> Section:
        """What lies below `key`, empty where there is nothing."""
        return Section(self.document, (*self.path, key), self.misshapen, self.problems)

    def names(self) -> list[str]:
        """The well-formed keys, in order."""
        return [name for name in self.written() if (*self.path, name) not in self.misshapen]

    def written(self) -> list[str]:
        """All keys, in order, the misshapen ones too."""
        data = self.value()
        return list(data) if isinstance(data, dict) else []

    def elements(self) -> Iterator[Section]:
        """The elements of a list, as sections."""
        data = self.value()
        if isinstance(data, list):
            for index in range(len(data)):
                if (*self.path, index) not in self.misshapen:
                    yield self.section(index)

    def has(self, key: str) -> bool:
        """Whether `key` is written, well-formed or not."""
        data = self.value()
        return (isinstance(data, dict) and key in data) or (*self.path, key) in self.misshapen

    def is_misshapen(self) -> bool:
        """Whether the schema refused this or something below it."""
        depth = len(self.path)
        return any(path[:depth] == self.path for path in self.misshapen)

    def at(self, *below: str | int) -> At:
        return self.document.at(*self.path, *below)

    def problem(self, message: str, *below: str | int) -> None:
        """Note a problem here, or at what lies `below`. Messages may quote what was written, but stay one line."""
        self._note(message, False, *below)

    def warn(self, message: str, *below: str | int) -> None:
        """Note what is most likely not meant."""
        self._note(message, True, *below)

    def _note(self, message: str, warns: bool, *below: str | int) -> None:
        line = "".join(character if character.isprintable() else " " for character in message)
        self.problems.append(Problem(self.at(*below), line.rstrip(), warns))

    def value(self) -> Any:
        """What stands at this very place."""
        found = self.document.data
        for index, step in enumerate(self.path):
            if self.path[: index + 1] in self.misshapen:
                return None
            if isinstance(found, dict):
                found = found.get(step)
            elif isinstance(found, list) and isinstance(step, int) and step < len(found):
                found = found[step]
            else:
                return None
        return found
