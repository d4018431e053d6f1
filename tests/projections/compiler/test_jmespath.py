"""Compiled expressions answer as the jmespath package does: the listed cases, and any expression on any data."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jmespath
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions, signature

from dynaview.projections.compiler.jmespath import translate_alone
from dynaview.projections.expressions import ExpressionError, parse
from dynaview.projections.functions import FunctionError

ERROR = "=> error"


def _cases() -> Iterator[Any]:
    feature, data = "", ""
    for line in (Path(__file__).parent / "jmespath_cases.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            feature = line[3:]
        elif line.startswith("given "):
            data = line[6:]
        elif line and not line.startswith("# "):
            expression, _, expected = line.rpartition(" => ")
            yield pytest.param(expression, data, expected, id=f"{feature}: {expression}")


def exact(plain: Any) -> Any:
    """The same data as DynamoDB values would hold it."""
    match plain:
        case bool() | None | str():
            return plain
        case int() | float():
            return Decimal(repr(plain))
        case list():
            return [exact(element) for element in plain]
        case dict():
            return {name: exact(element) for name, element in plain.items()}
    raise AssertionError(type(plain))


def same(left: Any, right: Any) -> bool:
    """JSON equality: unlike Python's, true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[name], right[name]) for name in left)
    return bool(left == right)


def compiled(expression: str, data: Any) -> Any:
    """The compiled answer, or `ERROR`."""
    try:
        return translate_alone(parse(expression).tree, "test")(data)
    except (ExpressionError, FunctionError):
        return ERROR


class Canonical(Functions):
    """The package's functions, but for the form of JSON text."""

    @signature({"types": []})
    def _func_to_string(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def reference(expression: str, data: Any) -> Any:
    """The package's answer, or `ERROR`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        try:
            return jmespath.search(expression, data, jmespath.Options(custom_functions=Canonical()))
        except (JMESPathError, ValueError):
            return ERROR


@pytest.mark.parametrize(("expression", "data", "expected"), list(_cases()))
def test_listed_case(expression: str, data: str, expected: str) -> None:
    wanted = ERROR if expected == "error" else json.loads(expected, parse_float=Decimal)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        answer = compiled(expression, json.loads(data, parse_float=Decimal))
    assert same(answer, wanted), answer
    theirs = reference(expression, json.loads(data))
    assert theirs == ERROR if wanted == ERROR else same(exact(theirs), exact_of(wanted)), theirs


def exact_of(wanted: Any) -> Any:
    """`exact` for what was read with decimals."""
    return json.loads(json.dumps(wanted, default=float), parse_int=Decimal, parse_float=Decimal)


def test_ordering_text_against_numbers_is_null() -> None:
    # The specification's answer; the package raises TypeError.
    assert compiled("[a < b, b < a, a >= b]", {"a": Decimal(1), "b": "x"}) == [None, None, None]
    assert compiled("l[?q > `1`]", {"l": [{"q": "x"}, {"q": Decimal(2)}]}) == [{"q": Decimal(2)}]


NAMES = st.sampled_from(["a", "b", "c", '"x y"', "d"])
KEYS = st.sampled_from(["a", "b", "c", "x y", "d"])
TEXTS = st.sampled_from(["", "a", "b", "12", "é", "a b"])
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=25,
)
LITERALS = st.one_of(
    st.sampled_from(["`0`", "`1`", "`-2`", "`true`", "`false`", "`null`", "`[]`", "`{}`", "`[1, 2]`", "''", "'a'"]),
    DATA.map(lambda data: "`" + json.dumps(data) + "`"),
)


def _deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    one = st.sampled_from(
        [
            "length({})", "keys({})", "values({})", "type({})", "to_array({})", "to_string({})", "to_number({})",
            "abs({})", "ceil({})", "floor({})", "sum({})", "max({})", "min({})", "sort({})", "reverse({})",
            "not_null({})", "merge({})", "!{}", "({})", "({}).a", "({})[0]", "({})[-1]", "({})[1:]", "({})[::-1]",
            "({})[*]", "({})[]", "({}).*", "({})[*].a", "({})[].b", "({}).*.a[]", "({})[*].[a, b]", "({}).[@]",
            "{{x: {}}}", "[{}]", "({})[?a]", "({})[*][*]",
        ]
    )  # fmt: skip
    two = st.sampled_from(
        [
            "{} || {}", "{} && {}", "{} == {}", "{} != {}", "{} < {}", "{} >= {}", "({}) | ({})", "[{}, {}]",
            "{{x: {}, y: {}}}", "contains({}, {})", "join({}, {})", "starts_with({}, {})", "ends_with({}, {})",
            "({})[?{}]", "({})[*].{{x: {}}}", "sort_by({}, &({}))", "max_by({}, &({}))", "min_by({}, &({}))",
            "not_null({}, {})", "({})[?!({})].a", "({})[].[{}]",
        ]
    )  # fmt: skip
    return st.one_of(
        st.builds(lambda form, text: form.format(text), one, inner),
        st.builds(lambda form, left, right: form.format(left, right), two, inner, inner),
        st.builds(lambda body, base: f"map(&({body}), {base})", inner, inner),
        st.builds(lambda left, name: f"({left}).{name}", inner, NAMES),
    )


EXPRESSIONS = st.recursive(NAMES | LITERALS | st.just("@"), _deeper, max_leaves=8)


@pytest.mark.filterwarnings("error::SyntaxWarning")
@settings(max_examples=800, deadline=None)
@given(EXPRESSIONS, DATA)
def test_any_expression_on_any_data(expression: str, data: Any) -> None:
    try:
        theirs = reference(expression, data)
    except (TypeError, AttributeError):
        # The package falls over some values of the wrong type (1 < 'a'); there is no answer to compare with.
        assume(False)
    ours = compiled(expression, exact(data))
    assert same(ours, theirs), (ours, theirs)


@pytest.mark.parametrize("levels", [15, 60, 120])
def test_deeply_nested_projections_are_no_limit(levels: int) -> None:
    expression = "a" + "[*].a" * levels
    data: Any = "end"
    for _ in range(levels):
        data = {"a": [data]}
    assert compiled(expression, data) == reference(expression, data) != ERROR


@pytest.mark.parametrize(
    "expression", ["!" * 150 + "a", "[" * 100 + "a" + "]" * 100, "a" + " || a" * 150, "a" + ".a" * 500]
)
def test_long_expressions_compile_or_are_refused_in_words(expression: str) -> None:
    try:
        answer = compiled(expression, {"a": "x"})
    except SyntaxError as error:  # what generated code must never be
        pytest.fail(str(error))
    assert answer == ERROR or same(answer, reference(expression, {"a": "x"}))
