"""YAML as plain data with lines."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dynaview.projections.reading.document import read_yaml, shown


def data(text: str) -> Any:
    document = read_yaml(text, "f.yaml")
    assert document.problems == ()
    return document.data


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("text", "text"),
        ("'quoted'", "quoted"),
        ("5", 5),
        ("-5", -5),
        ("0o17", 15),
        ("0xff", 255),
        ("12.50", Decimal("12.50")),
        ("1e3", Decimal("1E+3")),
        ("12345678901234567890.123456789", Decimal("12345678901234567890.123456789")),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        # Text in YAML 1.2, as editors read it, though not in YAML 1.1:
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("2024-01-01", "2024-01-01"),
        ("12:30:00", "12:30:00"),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        (".inf", ".inf"),
        ("=", "="),
    ],
)
def test_scalars(written: str, value: Any) -> None:
    found = data(f"a: {written}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_text() -> None:
    assert data("on: 1\n5: 2\ntrue: 3\nnull: 4\n1.0: 5\n") == {"on": 1, "5": 2, "true": 3, "null": 4, "1.0": 5}


def test_lines_of_keys_and_elements() -> None:
    document = read_yaml("# first\na:\n  b: 1\n\n  c:\n  - x\n  - y: 2\nd: {e: 3,\n  f: 4}\n", "f.yaml")
    assert document.lines == {
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "c"): 5,
        ("a", "c", 0): 6,
        ("a", "c", 1): 7,
        ("a", "c", 1, "y"): 7,
        ("d",): 8,
        ("d", "e"): 8,
        ("d", "f"): 9,
    }
    at = document.at("a", "c", 1, "missing")
    assert (at.path, at.line, str(at)) == ("a.c[1].missing", 7, "f.yaml:7")
    assert document.at("missing").line == 1


def test_aliases_and_merge_keys() -> None:
    document = read_yaml(
        """\
x-base: &base {a: 1, b: 2}
x-more: &more {b: 3, c: 4}
one: *base
two:
  <<: *base
  b: 9
three:
  <<: [*more, *base]
""",
        "f.yaml",
    )
    assert document.problems == ()
    assert document.data["one"] == {"a": 1, "b": 2}
    assert document.data["two"] == {"a": 1, "b": 9}
    assert document.data["three"] == {"a": 1, "b": 3, "c": 4}
    assert document.at("two", "a").line == 1
    assert document.at("two", "b").line == 6
    assert document.at("one", "b").line == 1


def test_a_merge_that_is_no_mapping_is_refused() -> None:
    (problem,) = read_yaml("a:\n  <<: text\n", "f.yaml").problems
    assert str(problem) == "f.yaml:2: a: << takes a mapping, such as the alias of one: <<: *name"


@pytest.mark.parametrize("written", ["1e999999999", "9" * 5000, "!!int x", "!!float x"])
def test_numbers_that_nothing_can_hold(written: str) -> None:
    (problem,) = read_yaml(f"a: {written}", "f.yaml").problems
    assert str(problem) == "f.yaml:1: a: not a number that a declaration can hold"


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system [id]", "!own x", "!!binary aGk=", "!!set {a}", "!include x"]
)
def test_tags_are_refused_and_nothing_runs(tag: str) -> None:
    document = read_yaml(f"a: {tag}", "f.yaml")
    assert document.data == {"a": None}
    said = "YAML takes text that begins with ! for a tag" if tag[1] != "!" else "YAML tags (!name) are not supported"
    assert said in str(document.problems[0])


@given(st.text(alphabet="ab:-{}[]\"'#&*!|>%@`,?~\n \t0.", max_size=60))
def test_any_text_is_data_or_problems(text: str) -> None:
    """Where YAML itself reads something, so do we, up to what declarations leave out."""
    document = read_yaml(text, "f.yaml")
    try:
        expected = yaml.load(text, yaml.BaseLoader)
    except (yaml.YAMLError, TypeError, ValueError):
        assert document.problems
        return
    if not document.problems:
        assert as_text(document.data) == as_text(expected)


def as_text(value: Any) -> Any:
    """What does not depend on how scalars are read."""
    if isinstance(value, dict):
        return {name: as_text(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_text(inner) for inner in value]
    return "scalar"


@pytest.mark.parametrize(
    ("name", "safe"),
    [("name", "name"), ("redis://u:p@h", "…"), ("u@h", "…"), ("a\nb", "a�b"), ("a" * 61, "a" * 59 + "…")],
)
def test_names_in_messages(name: str, safe: str) -> None:
    assert shown(name) == safe
