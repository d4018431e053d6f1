"""Checking a document's shape against the published schema, with messages of our own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError

from dynaview.projections.declaration import Problem
from dynaview.projections.quantities import DURATION, SHARE
from dynaview.projections.reading.document import Document, Path, shown
from dynaview.projections.reading.schema import SINK_SCHEMES
from dynaview.projections.reading.schema import schema as published
from dynaview.projections.suggestions import did_you_mean

_WORDS = {
    "string": "text",
    "object": "a mapping",
    "array": "a list",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


_MEANT: dict[str, list[str]] = {}
"""What other systems call a type or a unit, and what it may be called here."""
for _words, _meant in (
    ("string str varchar char keyword uuid", "text"),
    ("text json", "string"),
    ("int int4 int32 smallint short", "integer"),
    ("long int8 int64 biginteger", "bigint"),
    ("number numeric bignumeric money", "decimal"),
    ("float float8 float64 real", "double"),
    ("bool", "boolean"),
    ("datetime timestamptz time instant", "timestamp"),
    ("object map dict struct jsonb", "json"),
    ("bytes blob bytea", "binary"),
    ("list array", "text[]"),
    ("strings string[] list<string>", "text[]"),
    ("zset sortedset sorted-set sorted leaderboard", "sorted_set"),
    ("map object dict hset hashmap", "hash"),
    ("ms millis millisecond", "milliseconds"),
    ("s sec secs second epoch unix", "seconds"),
    ("us micros microsecond", "microseconds"),
):
    for _word in _words.split():
        _MEANT.setdefault(_word, []).append(_meant)


@dataclass(frozen=True, slots=True)
class Misshapen:
    """A place whose shape is wrong; nothing below it can be read."""

    path: Path
    problem: Problem


def check(document: Document) -> list[Misshapen]:
    """Everything about `document` that the schema refuses, in the order of the file."""
    if document.data is None:
        remedy = "declare sources, sinks and views in it (dynaview schema shows how)"
        return [_at(document, (), f"the file is empty: {remedy}")]
    errors = Draft7Validator(published()).iter_errors(document.data)
    found = [each for error in errors for each in _explained(document, error)]
    return sorted(found, key=lambda each: each.problem.at.line)


def _explained(document: Document, error: ValidationError) -> Iterator[Misshapen]:
    path: Path = tuple(error.absolute_path)
    rule: Any = error.validator_value
    schema: Any = error.schema
    instance: Any = error.instance
    match error.validator:
        case "additionalProperties":
            known = schema.get("properties", {})
            for name in _unknown(error):
                yield _at(document, (*path, name), f"unknown key{did_you_mean(name, known)}")
        case "required":
            # jsonschema reports each missing key by itself, but tells only its message which one.
            missing = [name for name in rule if name not in instance]
            name = next(name for name in missing if repr(name) in error.message)
            meaning = schema["properties"][name]["description"]
            yield Misshapen((*path, name), Problem(document.at(*path), f"{name} is missing. {meaning}"))
        case "pattern" if rule == DURATION:
            yield _at(document, path, "not a duration: write 90s, 15m, 24h or 7d")
        case "pattern" if rule == SHARE:
            yield _at(document, path, "not a share: write a percentage such as 5%, or a number from 0 to 1")
        case "pattern":
            name = str(error.instance)
            yield _at(
                document,
                (*path, name),
                "not a name: use letters, digits, _ and -, a letter first, at most 63 of them",
            )
        case "oneOf":
            yield Misshapen(
                path, Problem(document.at(*path), f"names not exactly one of {_listed(list(SINK_SCHEMES))}")
            )
        case _:
            yield _at(document, path, _message(error))


def _at(document: Document, path: Path, message: str) -> Misshapen:
    return Misshapen(path, Problem(document.at(*path), message))


def _unknown(error: ValidationError) -> list[str]:
    schema: Any = error.schema
    properties = schema.get("properties", {})
    ignored = "^x-" in schema.get("patternProperties", {})
    instance: Any = error.instance
    return [name for name in instance if name not in properties and not (ignored and name.startswith("x-"))]


def _message(error: ValidationError) -> str:
    rule: Any = error.validator_value
    schema: Any = error.schema
    match error.validator:
        case "type":
            return _wrong_type(error)
        case "enum":
            word = shown(str(error.instance))
            meant = next((name for name in _MEANT.get(word.lower(), ()) if name in rule), None)
            return f"{word} is not one of its values{f', did you mean {meant}?' if meant else did_you_mean(word, rule)}"
        case "minLength" | "minItems" | "minProperties":
            meaning = schema.get("description", "")
            return f"is empty. {meaning.split('. ')[0]}".rstrip()
        case "uniqueItems":
            return "holds the same twice: remove one of them"
        case "minimum" | "exclusiveMinimum":
            least = "at least" if error.validator == "minimum" else "more than"
            return f"has to be {least} {rule}"
    raise AssertionError(f"the schema uses {error.validator}, which has no message")  # pragma: no cover


def _wrong_type(error: ValidationError) -> str:
    rule: Any = error.validator_value
    allowed = rule if isinstance(rule, list) else [rule]
    expected = _listed([_WORDS[name] for name in allowed])
    found = error.instance
    if found is None:
        return f"is empty: give {expected} or remove the key"
    message = f"expected {expected}, found {kind_of(found)}"
    if "string" in allowed and isinstance(found, dict) and list(found.values()) == [None]:
        return f"{message}: put text that begins with a brace in quotes"
    if "string" in allowed and "number" not in allowed and not isinstance(found, dict | list):
        return f"{message}: put it in quotes"
    return message


def kind_of(plain: Any) -> str:
    """What a value is, in words, without showing it."""
    match plain:
        case None:
            return "nothing"
        case bool():
            return "true" if plain else "false"
        case str():
            return "text"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case int():
            return "a number"
    return "a number" if type(plain).__name__ == "Decimal" else f"a Python {type(plain).__name__}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
