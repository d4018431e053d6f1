"""The patterns that the keys of a table follow, guessed from a sample: ``CUSTOMER#{customer_id}`` and the like.

A guess for people to look at. It goes by what single-table designs do: words that say what an item is, in front of or
between what tells items apart, with a mark between them.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from dynaview.projections.attributes import Attr, AttributeValueError
from dynaview.projections.compiler.runtime import key_text
from dynaview.projections.patterns import parse_pattern

Image: TypeAlias = Mapping[str, Attr]

MARKS = ("#", "|", "/", ":")
"""What stands between the parts of a key, in the order in which it is looked for."""

WORDS = 25
"""More different words in one place than this are no kinds of items but something that tells items apart."""

OFTEN = 3
"""So often a word in small letters has to come to be one of a pattern's own."""

_LOUD = re.compile(r"[A-Z][A-Z_-]*", re.ASCII)
_WORD = re.compile(r"[A-Za-z][A-Za-z_-]*", re.ASCII)
_NO_NAME = re.compile(r"[^a-z0-9]+", re.ASCII)

_Parts: TypeAlias = "tuple[str, ...]"


@dataclass(frozen=True, slots=True)
class Kind:
    """Items whose keys follow one pattern."""

    match: Mapping[str, str]
    """As a view's ``match``; without the key attributes that are binary."""
    captures: tuple[str, ...]
    name: str
    """A name for a view of them; not unique."""
    images: list[Image] = field(default_factory=list)


def kinds_of(images: Iterable[Image], key: Sequence[str]) -> list[Kind]:
    """The kinds of items in a sample, the most frequent first. Items without a key that can be read are left out."""
    texts = [(image, found) for image in images if (found := _texts(image, key)) is not None]
    shapes = {name: _shapes([found[name] for _, found in texts], first=name == key[0]) for name in key}
    groups: defaultdict[tuple[_Parts | None, ...], list[tuple[Image, dict[str, str | None]]]] = defaultdict(list)
    for image, found in texts:
        groups[tuple(shapes[name].get(found[name]) for name in key)].append((image, found))
    kinds = [_kind(key, shape, members) for shape, members in groups.items()]
    return sorted(kinds, key=lambda kind: (-len(kind.images), kind.name))


def _texts(image: Image, key: Sequence[str]) -> dict[str, str | None] | None:
    """The text of each key attribute, as patterns see it: None for binary ones."""
    try:
        return {name: key_text(image[name]) for name in key}
    except (KeyError, AttributeValueError):
        return None


def _shapes(texts: Iterable[str | None], first: bool) -> dict[str | None, _Parts | None]:
    """Each text's shape: its words, marks, and "" for each part that tells items apart; None for binary ones."""
    counted = Counter(texts)
    by_split: defaultdict[tuple[str, int], list[tuple[str, list[str]]]] = defaultdict(list)
    for text in counted:
        if text is not None:
            mark, parts = _split(text)
            by_split[mark, len(parts)].append((text, parts))
    found: dict[str | None, _Parts | None] = {None: None}
    for (mark, _), members in by_split.items():
        for text, shape in _shaped(members, counted, 0, first):
            found[text] = tuple(part for each in shape for part in (mark, each))[1:] if mark else shape
    return found


def _split(text: str) -> tuple[str, list[str]]:
    for mark in MARKS:
        parts = text.split(mark)
        if len(parts) > 1 and all(parts) and _WORD.fullmatch(parts[0]):
            return mark, parts
    return "", [text]


def _shaped(
    members: Sequence[tuple[str, list[str]]], counted: Mapping[str | None, int], place: int, first: bool
) -> list[tuple[str, _Parts]]:
    """The shapes of texts that have as many parts, from the part at `place` on."""
    if not members or place == len(members[0][1]):
        return [(text, ()) for text, _ in members]
    alone = len(members[0][1]) == 1
    often: Counter[str] = Counter()
    for text, parts in members:
        often[parts[place]] += counted[text]
    words = {part for part, count in often.items() if _is_word(part, count, place, alone, first)}
    if len(words) > WORDS:
        words = set()
    found: list[tuple[str, _Parts]] = []
    for word in ("", *sorted(words)):
        some = [each for each in members if (each[1][place] if each[1][place] in words else "") == word]
        found += [(text, (word, *rest)) for text, rest in _shaped(some, counted, place + 1, first)]
    return found


def _is_word(part: str, count: int, place: int, alone: bool, first: bool) -> bool:
    """Whether a part of a key may be a word of its pattern."""
    if _LOUD.fullmatch(part):
        return not alone or len(part) > 1
    if not _WORD.fullmatch(part):
        return False
    if alone:  # all of a key: "profile" of every customer, not the names of customers
        return not first and count >= OFTEN
    return place == 0 or count >= OFTEN


def _kind(
    key: Sequence[str], shape: tuple[_Parts | None, ...], members: Sequence[tuple[Image, dict[str, str | None]]]
) -> Kind:
    match: dict[str, str] = {}
    captured: dict[str, list[str]] = {}
    words: list[str] = []
    for name, parts in zip(key, shape, strict=True):
        if parts is None:
            continue
        texts = [found[name] or "" for _, found in members]
        match[name] = _pattern(name, parts, texts, captured)
        words += [each for each in map(_slug, parts) if each]
    name = "_".join(dict.fromkeys(words)) or "items"
    return Kind(match, tuple(captured), name[:40].rstrip("_"), [image for image, _ in members])


def _pattern(attribute: str, parts: _Parts, texts: Sequence[str], captured: dict[str, list[str]]) -> str:
    """The pattern of one attribute. `captured` has what each capture of the item's other attributes holds."""
    before, pattern = "", ""
    names: list[str] = []
    for part in parts:
        if part:
            before = _slug(part) or before
            pattern += part.replace("{", "{{").replace("}", "}}")
            continue
        base = f"{before}_id" if before else _slug(attribute) or "key"
        name, number = _identifier(base), 2
        while name in names or (name in captured and not _equal(pattern, name, parts, texts, captured)):
            name, number = _identifier(f"{base}{number}"), number + 1
        names.append(name)
        pattern += f"{{{name}}}"
        before = ""
    read = parse_pattern(pattern)
    for text in texts:
        for name, held in (read.match(text) or {}).items():
            captured.setdefault(name, []).append(held)
    return pattern


def _equal(pattern: str, name: str, parts: _Parts, texts: Sequence[str], captured: Mapping[str, list[str]]) -> bool:
    """Whether a part of this attribute always holds what the capture `name` of another one holds: only where it is the
    last, which is the common case (``CUSTOMER#1`` in both)."""
    if sum(not part for part in parts) != 1:
        return False
    read = parse_pattern(f"{pattern}{{{name}}}")
    return [(read.match(text) or {}).get(name) for text in texts] == captured[name]


def _slug(text: str) -> str:
    return _NO_NAME.sub("_", text.lower()).strip("_")


def _identifier(text: str) -> str:
    return text if text[:1].isalpha() else f"k_{text}"
