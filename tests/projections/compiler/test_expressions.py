"""Reading expressions: exact literals, names, and errors that show the place."""

from __future__ import annotations

import threading
from decimal import Decimal

import jmespath
import pytest

from dynaview.projections.expressions import ExpressionError, parse


def test_numbers_in_literals_stay_exact() -> None:
    digits = "0.12345678901234567890123456789012345678"
    assert parse(f"`{digits}`").tree["value"] == Decimal(digits)
    assert parse('`[0.1, {"a": 1e-3}]`').tree["value"] == [Decimal("0.1"), {"a": Decimal("0.001")}]
    assert parse("`12`").tree["value"] == 12


def test_the_package_keeps_its_own_literals() -> None:
    parse("`0.1`")
    assert isinstance(jmespath.search("`0.1`", {}), float)
    assert isinstance(parse("`0.1`").tree["value"], Decimal)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("status", {"status"}),
        ("shipping.city", {"shipping"}),
        ("a == b && !c", {"a", "b", "c"}),
        ("lines[?sku == other].price", {"lines"}),
        ("sum(lines[].price)", {"lines"}),
        ("{x: a, y: [b, c.d]}", {"a", "b", "c"}),
        ("a | b", {"a"}),
        ("_item.a", {"_item"}),
        ("@.a.b", {"a"}),
        ("sort_by(people, &age)", {"people"}),
        ("`1`", set()),
        ("@", None),
        ("*", None),
        ("a == @", None),
        ("length(@)", None),
    ],
)
def test_names(text: str, names: set[str] | None) -> None:
    assert parse(text).names == names


def test_paths_hold_what_is_known_of_the_way_down() -> None:
    assert parse("a.b.c || e.f.*.g || h.i | j").paths == {("a", "b", "c"), ("e", "f"), ("h", "i")}


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 0, "it is empty"),
        ("status ==", 9, 'ends too early, after "status =="'),
        ("status = 'x'", 7, "column 8, at \"= 'x'\""),
        ("a b", 2, 'column 3, at "b": unexpected token'),
        ("a || lenght(b)", 5, 'column 6, at "lenght(b)": there is no function lenght()'),
        ("length(a, b)", 0, "length() takes 1 argument, found 2"),
        ("join('-')", 0, "join() takes 2 arguments, found 1"),
        ("not_null()", 0, "not_null() takes at least 1 argument, found 0"),
        ("sort_by(a, b)", 0, "argument 2 of sort_by() is an expression and begins with &"),
        ("abs(&a)", 0, "argument 1 of abs() is a value and takes no &"),
        ("&a", 0, "& stands only before an argument"),
        ("a[::0]", 0, "a step of 0"),
        ("`1e999`", 0, "more than 38 digits"),
        ("`" + "1" * 39 + "`", 0, "more than 38 digits"),
        ("`NaN`", 0, "a number"),
        ("[" + "9" * 5000 + "]", 0, "too many digits"),
        ("a." + "(" * 30, 2, "column 3"),
        ("!" * 3000 + "a", 0, "nested too deeply"),
    ],
)
def test_errors_show_the_place(text: str, position: int, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert caught.value.position == position
    assert words in str(caught.value)
    assert str(caught.value).startswith("wrong JMESPath")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("age > 18", "a number stands in backticks: `18`"),
        ("age == -1.5", "a number stands in backticks: `-1.5`"),
        ("a and b", "and is written &&"),
        ("a AND b", "and is written &&"),
        ("a or b", "or is written ||"),
        ("not deleted", "not is written !"),
        ("a = 'x'", "equal is written =="),
        ("a === 'x'", "equal is written =="),
        ("a <> 'x'", "not equal is written !="),
        ("first-name", 'stands in double quotes: "first-name", or subtract(a, b)'),
        ("a.first-name == 'x'", 'stands in double quotes: "first-name"'),
        ("länge", 'stands in double quotes: "länge"'),
        ("a + b", "write add(a, b)"),
        ("a - b", "write subtract(a, b)"),
        ("a * b", "write multiply(a, b)"),
        ("a / b", "write divide(a, b)"),
        ("a % b", "write modulo(a, b)"),
        ("a is null", "write a == `null`"),
        ("a in ('x', 'y')", "write contains("),
        ("a like 'x%'", "write starts_with("),
        ("a == \u2018x\u2019", "text stands in straight quotes: 'x'"),
        ("a == \u201cx\u201d", "text stands in straight quotes: 'x'"),
        ("a == 'it's'", "write \\' for a ' inside it"),
        ("tags.0", "a position in a list stands in brackets"),
        ("a[b]", "brackets hold a position"),
        ("a ? b : c", "write condition && a || b"),
        ("uper(a)", "there is no function uper(), did you mean upper?"),
        ("concat(a, b)", "write join('', [a, b])"),
        ("IFNULL(a, b)", "write coalesce(a, b)"),
        ("now()", "there is no clock"),
        ("substring(a)", "substring() takes 2 or 3 arguments, found 1"),
        ("add(a)", "add() takes at least 2 arguments, found 1"),
    ],
)
def test_what_other_languages_write_has_its_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert remedy in str(caught.value)


def test_a_text_is_parsed_once() -> None:
    assert parse("a.b == `0.1`") is parse("a.b == `0.1`")


def test_parsing_from_many_threads() -> None:
    wrong: list[str] = []

    def work(number: int) -> None:
        for index in range(50):
            text = f"a{number}_{index}.b == `{index}.5`"
            if parse(text).names != frozenset({f"a{number}_{index}"}):
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
