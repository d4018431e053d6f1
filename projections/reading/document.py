"""A YAML file as plain data that remembers its lines.

The data is made of dict, list, str, int, Decimal (YAML's floats, exact), bool and None. Scalars follow YAML 1.2's core
schema, as editors do, so ``on``, ``no`` and ``2024-01-01`` are text; keys are always text. Anchors, aliases and merge
keys (``<<``) work; tags don't.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

import yaml

from dynaview.projections.declaration import At, Problem

Path: TypeAlias = "tuple[str | int, ...]"
"""From the top of a document: keys and list positions."""

LARGEST = 400_000
"""Characters in a declaration file; more than that is no declaration."""

_MOST_NODES = 100_000
_LARGEST_EXPONENT = 400


@dataclass(frozen=True, slots=True)
class Document:
    """What a file (or a decorated function) declares, still unchecked."""

    file: str
    data: Any
    lines: Mapping[Path, int]
    """Where each key and each list element stands, from 1."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with the file as YAML. `data` is None where nothing could be read."""
    first_line: int = 1
    """The line of what `lines` does not know."""

    def at(self, *path: str | int) -> At:
        """The place of `path`, or of what stands nearest above it."""
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        return At(path_text(path), self.file, self.lines.get(known, self.first_line))


def path_text(path: Path) -> str:
    """``views.orders.match[1].pk``; a file's own problems stand under ``declaration``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{shown(step)}"
    return text.removeprefix(".") or "declaration"


def shown(name: str) -> str:
    """A name for a message: short, one line, and never a mistyped URL with its password."""
    if "://" in name or "@" in name:
        return "…"
    name = "".join(character if character.isprintable() else "�" for character in name)
    return name if len(name) <= 60 else name[:59] + "…"


def read_yaml(text: str, file: str) -> Document:
    """Read a YAML text; never raises for what it holds."""
    if len(text) > LARGEST:
        return _unreadable(file, 1, f"longer than {LARGEST:,} characters: this is no declaration")
    construction = _Construction(file)
    try:
        node = _Loader(text).get_single_node()
        data = None if node is None else construction.value(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return _unreadable(file, mark.line + 1 if mark else 1, _explained(error))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _unreadable(file, line, "a character that YAML does not allow: is this a text file in UTF-8?")
    except RecursionError:
        return _unreadable(file, 1, "nested too deeply: this is no declaration")
    except _TooMuch as error:
        return _unreadable(file, 1, str(error))
    return Document(file, data, construction.lines, tuple(construction.problems))


def _unreadable(file: str, line: int, message: str) -> Document:
    return Document(file, None, {}, (Problem(At("yaml", file, line), message),))


class _TooMuch(Exception):
    pass


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema instead of PyYAML's YAML 1.1, where `on` is true and 12:30 is 750."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's way of declaring it


_TAG = "tag:yaml.org,2002:"
for _tag, _pattern, _starts in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _tag, re.compile(rf"(?:{_pattern})\Z"), _starts)


class _Construction:
    """Plain data from YAML nodes, with lines and with the problems that YAML itself lets pass."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._count = 0
        self._open: set[int] = set()
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, path: Path) -> Any:
        self._counted()
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            return self._problem(node, path, "an alias that contains itself")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
                return [self._element(inner, (*path, index)) for index, inner in enumerate(node.value)]
            return self._tagged(node, path)
        finally:
            self._open.discard(id(node))

    def _counted(self) -> None:
        self._count += 1
        if self._count > _MOST_NODES:
            raise _TooMuch(f"more than {_MOST_NODES:,} keys and values: this is no declaration")

    def _element(self, node: yaml.Node, path: Path) -> Any:
        self.lines[path] = node.start_mark.line + 1
        return self.value(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key, inner in node.value:
            self._counted()
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, path, 'a list or mapping as key: put text that begins with { or [ in quotes: "{…}"')
                continue
            if key.tag == _TAG + "merge":
                merged.append(inner)
                continue
            name: str = key.value
            if name in found:
                first = self.lines[(*path, name)]
                self._problem(key, (*path, name), f"stands twice, first on line {first}: remove one of them")
                continue
            self.lines[(*path, name)] = key.start_mark.line + 1
            found[name] = self.value(inner, (*path, name))
        for inner in merged:
            self._merge(inner, path, found)
        return found

    def _merge(self, node: yaml.Node, path: Path, into: dict[str, Any]) -> None:
        """What stands beside ``<<`` wins over what it brings; of several, the first wins."""
        if isinstance(node, yaml.SequenceNode):
            for inner in node.value:
                self._merge(inner, path, into)
            return
        if not isinstance(node, yaml.MappingNode):
            self._problem(node, path, "<< takes a mapping, such as the alias of one: <<: *name")
            return
        if id(node) in self._open:
            self._problem(node, path, "an alias that contains itself")
            return
        # Aside, so that what a merge costs is what it brings, not all that was read before.
        known, self.lines = self.lines, {}
        brought = self.value(node, path)
        lines, self.lines = self.lines, known
        for place, line in lines.items():
            self.lines.setdefault(place, line)
        if isinstance(brought, dict):
            for name, inner in brought.items():
                into.setdefault(name, inner)

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text: str = node.value
        try:
            match node.tag.removeprefix(_TAG):
                case "str" | "merge":
                    return text
                case "null":
                    return None
                case "bool":
                    return text.lower() == "true"
                case "int":
                    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
                case "float":
                    return _decimal(text)
        except (ValueError, InvalidOperation):
            return self._problem(node, path, "not a number that a declaration can hold")
        return self._tagged(node, path)

    def _tagged(self, node: yaml.Node, path: Path) -> None:
        text = f"{node.tag} {node.value}".rstrip() if isinstance(node, yaml.ScalarNode) else ""
        if text.startswith("!"):
            said = f'YAML takes text that begins with ! for a tag: put it in quotes, as in "{shown(text)}"'
        else:
            said = "YAML tags (!name) are not supported: a declaration is plain data; remove the tag"
        self._problem(node, path, said)

    def _problem(self, node: yaml.Node, path: Path, message: str) -> None:
        self.problems.append(Problem(At(path_text(path), self._file, node.start_mark.line + 1), message))


def _decimal(text: str) -> Decimal:
    number = Decimal(text)
    if abs(number.adjusted()) > _LARGEST_EXPONENT:
        raise ValueError(text)
    return number


def _explained(error: yaml.MarkedYAMLError) -> str:
    """What PyYAML found, in words that name the remedy. Its own texts hold no values."""
    problem = error.problem or ""
    began = f" (it begins on line {error.context_mark.line + 1})" if error.context_mark else ""
    if "'\\t'" in problem:
        return "a tab where YAML expects spaces: indent with spaces only"
    if "that cannot start any token" in problem:
        return "a value can't begin with this character: put it in quotes"
    if "mapping values are not allowed" in problem:
        return "a second ': ' in one line: put values that hold ': ' in quotes, and check the indentation"
    if "sequence entries are not allowed" in problem:
        return "a list behind its key on one line: begin each '- ' on a line of its own"
    if "expected the node content" in problem or "expected '<document start>'" in problem:
        return "a special character where YAML expects a key or a value: put it in quotes"
    if "could not find expected ':'" in problem:
        return "no ':' behind a key"
    if "expected <block end>" in problem:
        return (
            f"wrong indentation, or text behind a quoted value or a bracket{began}; "
            "put values that begin with { in quotes"
        )
    if "expected ',' or" in problem or "unexpected end of stream" in problem or "found unexpected document" in problem:
        return f"a bracket or quote that is not closed{began}"
    if "undefined alias" in problem:
        return "an alias (*name) without its anchor (&name): put values that begin with * in quotes"
    if "single document" in (error.context or ""):
        return "a second document (---): one file holds one declaration"
    return f"not YAML: {problem}"
