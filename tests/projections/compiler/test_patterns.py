"""Match patterns split one way only; key templates never let two items meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaview.projections.patterns import Pattern, PatternError, parse_pattern, parse_template

NASTY = st.text(st.sampled_from("ab:#%25C/{}.é"), min_size=1, max_size=6)
"""Texts full of separators, of escapes and of what escapes are made of."""


@pytest.mark.parametrize(
    ("pattern", "value", "captured"),
    [
        ("PROFILE", "PROFILE", {}),
        ("PROFILE", "PROFILES", None),
        ("CUSTOMER#{id}", "CUSTOMER#7", {"id": "7"}),
        ("CUSTOMER#{id}", "CUSTOMER#", None),
        ("CUSTOMER#{id}", "customer#7", None),
        ("CUSTOMER#{id}", "XCUSTOMER#7", None),
        ("{a}#{b}", "x#y#z", {"a": "x", "b": "y#z"}),
        ("{a}#{b}", "#y", None),
        ("{a}#{b}", "x#", None),
        ("{a}#{b}", "xy", None),
        ("{a}#", "x#", {"a": "x"}),
        ("{a}#", "x##", None),
        ("{a}#", "x#y", None),
        ("A#{a}#B#{b}#C", "A#1#B#2#C", {"a": "1", "b": "2"}),
        ("A#{a}#B#{b}#C", "A#1#B#2#C#C", None),
        ("{a}", "anything # at all", {"a": "anything # at all"}),
        ("{a}-{a}", "x-x", {"a": "x"}),
        ("{a}-{a}", "x-y", None),
        ("{{{a}}}", "{x}", {"a": "x"}),
        ("ü{a}", "üß", {"a": "ß"}),
    ],
)
def test_matching(
    view: Callable[..., Any], table: Callable[..., Any], pattern: str, value: str, captured: dict[str, str] | None
) -> None:
    parsed = parse_pattern(pattern)
    assert parsed.match(value) == captured
    made = table(view(match={"pk": pattern}, key="{pk}", fields={name: name for name in parsed.captures}), key=("pk",))
    rows = made.rows({"pk": value})
    assert [dict(zip(parsed.captures, values, strict=False)) for _, values in rows] == (
        [] if captured is None else [{name: captured[name] for name in parsed.captures}]
    )


def rendered(pattern: Pattern, captured: dict[str, str]) -> str:
    """The value that a pattern and its captures stand for."""
    text = pattern.literals[0]
    for name, literal in zip(pattern.captures, pattern.literals[1:], strict=True):
        text += captured[name] + literal
    return text


@settings(max_examples=150, deadline=None)
@given(
    pattern=st.lists(st.sampled_from(["A#", "#", ":", "a", "ab", ""]), min_size=1, max_size=4),
    value=st.text(st.sampled_from("Aab#:"), min_size=1, max_size=12),
)
def test_compiled_patterns_split_as_the_plain_ones(
    view: Callable[..., Any], table: Callable[..., Any], pattern: list[str], value: str
) -> None:
    text = "".join(literal + f"{{c{index}}}" for index, literal in enumerate(pattern))
    try:
        parsed = parse_pattern(text)
    except PatternError:
        return  # two captures side by side
    captured = parsed.match(value)
    fields = {name: name for name in parsed.captures}
    rows = table(view(match={"pk": text}, key="{pk}", fields=fields), key=("pk",)).rows({"pk": value})
    assert rows == ([] if captured is None else [(value, tuple(captured.values()))])
    if captured is not None:
        assert rendered(parsed, captured) == value


def test_patterns_on_numbers_see_their_one_text(view: Callable[..., Any], table: Callable[..., Any]) -> None:
    from decimal import Decimal

    made = table(view(match={"id": "10{rest}"}, key="{rest}", fields={"rest": "rest"}), key=("id",))
    assert made.rows({"id": Decimal("1.0050E+3")}) == [("05", ("05",))]
    assert made.rows({"id": Decimal("9")}) == []


def test_alternatives_and_captures_that_only_some_have(view: Callable[..., Any], table: Callable[..., Any]) -> None:
    made = table(
        view(
            match=[{"pk": "A#{a}", "sk": "X"}, {"pk": "A#{a}", "sk": "B#{b}"}, {"pk": "C"}],
            key="{sk}",
            fields={"a": "a", "b": "b"},
        )
    )
    assert made.rows({"pk": "A#1", "sk": "X"}) == [("X", ("1", None))]
    assert made.rows({"pk": "A#1", "sk": "B#2"}) == [("B#2", ("1", "2"))]
    # The first alternative fills a before its sk fails: nothing of it may stay.
    assert made.rows({"pk": "C", "sk": "B#2"}) == [("B#2", (None, None))]
    assert made.rows({"pk": "D", "sk": "X"}) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty pattern"),
        ("{a}{b}", "nothing stands between {a} and {b}"),
        ("A#{a", "column 3 is not closed"),
        ("A}", "column 2 closes nothing"),
        ("{}", "{} is not a capture"),
        ("{a b}", "is not a capture"),
        ("{_item}", "do not begin with _"),
    ],
)
def test_wrong_patterns(text: str, words: str) -> None:
    with pytest.raises(PatternError) as caught:
        parse_pattern(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("plain", "without a name in braces"),
        ("{a}{b}", "the text between {a} and {b}"),
        ("{a}x{b}", "neither letter, digit nor %"),
        ("{a}%{b}", "neither letter, digit nor %"),
        ("{a", "is not closed"),
    ],
)
def test_wrong_templates(text: str, words: str) -> None:
    with pytest.raises(PatternError) as caught:
        parse_template(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        (("7", "9"), "order:7:9"),
        (("7:", "9"), "order:7%3A:9"),
        (("7", ":9"), "order:7::9"),
        (("100%", "100%"), "order:100%25:100%"),
    ],
)
def test_ordinary_keys_look_ordinary(values: tuple[str, str], key: str) -> None:
    assert parse_template("order:{a}:{b}").render(dict(zip("ab", values, strict=True))) == key


@settings(max_examples=200, deadline=None)
@given(
    separators=st.lists(st.sampled_from([":", "::", "#", "/a", " ", ".5", "{{"]), min_size=1, max_size=2),
    first=st.tuples(NASTY, NASTY, NASTY),
    second=st.tuples(NASTY, NASTY, NASTY),
)
def test_different_values_never_share_a_key(
    view: Callable[..., Any],
    table: Callable[..., Any],
    separators: list[str],
    first: tuple[str, str, str],
    second: tuple[str, str, str],
) -> None:
    names = ["a", "b", "c"][: len(separators) + 1]
    text = "k:" + "".join(f"{{{name}}}{separator}" for name, separator in zip(names, [*separators, "!"], strict=True))
    template = parse_template(text)
    made = table(view(key=text, fields={}))
    keys = []
    for values in (first, second):
        item = dict(zip(names, values, strict=False))
        (row,) = made.rows({"pk": "p", "sk": "s", **item})
        assert row[0] == template.render(item)
        keys.append(row[0])
    assert (keys[0] == keys[1]) == (first[: len(names)] == second[: len(names)])
