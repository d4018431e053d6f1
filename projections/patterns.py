"""Text with names in braces: match patterns (``CUSTOMER#{customer_id}``) and key templates (``customer:{id}``).

``{{`` and ``}}`` stand for one brace. Both kinds are made so that text and values determine each other:

- A *match pattern* splits a value in one way only. A capture holds at least one character and never contains the
  literal that follows it: ``{a}#{b}`` splits ``x#y#z`` into ``x`` and ``y#z``. A capture named twice has to hold the
  same text in both places.
- A *key template* renders different values to different keys. Where another name follows, the first character of the
  text between them and ``%`` are written as ``%XX`` inside the value (hexadecimal UTF-8), so ``{a}:{b}`` renders
  ``x:y``, ``z`` as ``x%3Ay:z``. The value of the last name is written as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ESCAPE = "%"


class PatternError(ValueError):
    """A pattern or template that cannot be used; says what to write instead."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A match pattern: literals and captures in turn. ``literals[i]`` stands before ``captures[i]``, and the last
    literal after all of them (each may be empty at the ends)."""

    text: str
    literals: tuple[str, ...]
    captures: tuple[str, ...]

    def match(self, value: str) -> dict[str, str] | None:
        """What the captures hold in `value`, or None where it does not match. Compiled code does the same faster."""
        if not self.captures:
            return {} if value == self.literals[0] else None
        if not value.startswith(self.literals[0]):
            return None
        found: dict[str, str] = {}
        rest = value[len(self.literals[0]) :]
        for capture, literal in zip(self.captures, self.literals[1:], strict=True):
            if literal:
                held, separator, rest = rest.partition(literal)
                if not separator:
                    return None
            else:
                held, rest = rest, ""
            if not held or found.setdefault(capture, held) != held:
                return None
        return None if rest else found


@dataclass(frozen=True, slots=True)
class Template:
    """A key template; literals and names as in `Pattern`."""

    text: str
    literals: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def escapes(self) -> tuple[str, ...]:
        """For each name the character that is escaped in its value beside ``%``; empty for the last."""
        return (*(literal[0] for literal in self.literals[1:-1]), "") if self.names else ()

    def render(self, values: Mapping[str, str]) -> str:
        """The key for these texts (none empty). Compiled code does the same faster."""
        key = self.literals[0]
        for name, separator, literal in zip(self.names, self.escapes, self.literals[1:], strict=True):
            text = values[name]
            key += (escape(text, separator) if separator else text) + literal
        return key


def escape(text: str, separator: str) -> str:
    """Write ``%`` and the character `separator` inside `text` as ``%XX``, so that neither can be mistaken."""
    if ESCAPE in text:
        text = text.replace(ESCAPE, "%25")
    if separator in text:
        text = text.replace(separator, "".join(f"%{byte:02X}" for byte in separator.encode()))
    return text


def parse_pattern(text: str) -> Pattern:
    """Read a match pattern. Raises `PatternError`."""
    literals, captures = _split(text, "capture")
    if not captures and not literals[0]:
        raise PatternError("an empty pattern matches nothing, because key attributes are never empty")
    for literal, first, second in zip(literals[1:-1], captures, captures[1:], strict=False):
        if not literal:
            raise PatternError(
                f"nothing stands between {{{first}}} and {{{second}}}, so where one ends is not known: "
                f"put the text between them that the keys have, as in {{{first}}}#{{{second}}}"
            )
    return Pattern(text, literals, captures)


def parse_template(text: str, *, constant: bool = False) -> Template:
    """Read a key template. `constant` says that it may be without names: the key of a set holds many rows.

    Raises `PatternError`.
    """
    literals, names = _split(text, "name")
    if not names and not (constant and literals[0]):
        raise PatternError("without a name in braces all items would meet on one key: add one, as in item:{id}")
    for literal, first, second in zip(literals[1:-1], names, names[1:], strict=False):
        if not literal or not _separates(literal[0]):
            raise PatternError(
                f"the text between {{{first}}} and {{{second}}} has to begin with a mark that is neither letter, digit "
                f"nor {ESCAPE}, so that two items never meet on one key, as in {{{first}}}:{{{second}}}"
            )
    return Template(text, literals, names)


def _separates(character: str) -> bool:
    # Letters and digits may be part of an escape (%3A), which would end the value early when it is read back.
    return not character.isalnum() and character != ESCAPE


def _split(text: str, what: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    literals: list[str] = [""]
    names: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character in "{}" and text[position : position + 2] == character * 2:
            literals[-1] += character
            position += 2
        elif character == "{":
            end = text.find("}", position)
            if end < 0:
                raise PatternError(f"the brace at column {position + 1} is not closed; write {{{{ for a brace itself")
            names.append(_name(text[position + 1 : end], what))
            literals.append("")
            position = end + 1
        elif character == "}":
            raise PatternError(f"the brace at column {position + 1} closes nothing; write }}}} for a brace itself")
        else:
            literals[-1] += character
            position += 1
    return tuple(literals), tuple(names)


def _name(name: str, what: str) -> str:
    if not name.isidentifier() or not name.isascii():
        raise PatternError(f"{{{name}}} is not a {what}: use letters, digits and _, and no digit first")
    if what == "capture" and name.startswith("_"):
        raise PatternError(f"{{{name}}}: names of captures do not begin with _, which is kept for names such as _item")
    return name
