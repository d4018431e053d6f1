"""What stands for the code of a Python projection: it changes with the code, and with nothing else."""

from __future__ import annotations

import functools
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dynaview.views.declarations.functions import Lost, code_mark

BASE = """
def card(item):
    \"\"\"A card.\"\"\"
    if item["tier"] in {"gold", "silver"}:
        return {"name": item["name"].title(), "score": 1.5}
    return None
"""

SAME = {
    "a comment": BASE.replace("    return None", "    # no card\n    return None"),
    "other lines": "\n\n\n" + BASE,
    "its docstring": BASE.replace("A card.", "The card of a customer."),
    "what stands beside it": BASE + "\ndef other(item):\n    return {}\n",
    "the decorator's keys": "def keys(**named):\n    return lambda function: function\n\n@keys(on_change='ask')" + BASE,
}

OTHER = {
    "a constant": BASE.replace("1.5", "2.5"),
    "the type of a constant": BASE.replace("1.5", "'1.5'"),
    "a set": BASE.replace('"silver"', '"bronze"'),
    "a method": BASE.replace("title()", "upper()"),
    "a branch": BASE.replace(" in ", " not in "),
    "a default argument": BASE.replace("(item)", "(item, rate=2)"),
    "a keyword argument": BASE.replace("(item)", "(item, *, rate=2)"),
    "an inner function": BASE.replace('item["name"].title()', '(lambda name: name.title())(item["name"])'),
    "what it raises through": BASE.replace(
        "    return None", "    try:\n        return None\n    finally:\n        pass"
    ),
}


def defined(text: str) -> Callable[[dict[str, Any]], Any]:
    module = ModuleType("views")
    exec(compile(textwrap.dedent(text), "views.py", "exec"), module.__dict__)
    card: Callable[[dict[str, Any]], Any] = module.card
    return card


@pytest.mark.parametrize("what", SAME)
def test_what_is_not_code_does_not_count(what: str) -> None:
    assert code_mark(defined(SAME[what])) == code_mark(defined(BASE))


@pytest.mark.parametrize("what", OTHER)
def test_code_counts(what: str) -> None:
    assert code_mark(defined(OTHER[what])) != code_mark(defined(BASE))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("(item, rate=2)", "(item, rate=3)"),
        ("(item, *, rate=2)", "(item, *, rate=3)"),
        ("(item, rate=(1, 2))", "(item, rate=(1, 3))"),
    ],
)
def test_default_arguments_count(one: str, other: str) -> None:
    text = "def card{}:\n    return {{'n': rate}}\n"
    assert code_mark(defined(text.format(one))) != code_mark(defined(text.format(other)))


def test_the_mark_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Sets of texts have another order in each, and objects another address."""
    (tmp_path / "views.py").write_text(BASE + "\nclass Card:\n    def __call__(self, item):\n        return item\n")
    program = (
        "import views; from dynaview.views.declarations.functions import code_mark as m;"
        " print(m(views.card), m(views.Card()))"
    )
    marks = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for seed in ("1", "2", "3", "4")
    }
    assert len(marks) == 1
    assert next(iter(marks)).split()[0] == code_mark(defined(BASE))


def multiplied(rate: int) -> Callable[[dict[str, Any]], Any]:
    def card(item: dict[str, Any]) -> dict[str, Any]:
        return {"n": item["n"] * rate}

    return card


def logged(function: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    calls: list[str] = []

    def wrapper(item: dict[str, Any]) -> Any:
        calls.append("")
        return function(item)

    return wrapper


class Card:
    def __call__(self, item: dict[str, Any]) -> Any:
        return {"n": 1}

    def made(self, item: dict[str, Any]) -> Any:
        return {"n": 2}


class Other(Card):
    def __call__(self, item: dict[str, Any]) -> Any:
        return {"n": 3}


MAKERS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "enclosed": (lambda: multiplied(2), lambda: multiplied(3)),
    "wrapped": (lambda: functools.wraps(multiplied)(multiplied(2)), lambda: multiplied(3)),
    "decorated": (lambda: logged(multiplied(2)), lambda: logged(multiplied(3))),
    "cached": (lambda: functools.lru_cache(multiplied(2)), lambda: functools.lru_cache(multiplied(3))),
    "partial": (lambda: functools.partial(multiplied(2)), lambda: functools.partial(multiplied(3))),
    "partial arguments": (lambda: functools.partial(pow, 2), lambda: functools.partial(pow, 3)),
    "object": (Card, Other),
    "method": (lambda: Card().made, lambda: Card().__call__),
    "built-in": (lambda: str.title, lambda: str.upper),
}


@pytest.mark.parametrize("form", MAKERS)
def test_every_form_of_a_function_has_a_mark_of_its_own(form: str) -> None:
    make, make_other = MAKERS[form]
    assert code_mark(make()) == code_mark(make())
    assert code_mark(make()) != code_mark(make_other())


def test_what_a_function_does_meanwhile_does_not_change_its_mark() -> None:
    function = logged(multiplied(2))
    before = code_mark(function)
    function({"n": 1})
    assert code_mark(function) == before


def test_a_function_may_enclose_itself() -> None:
    def card(item: dict[str, Any]) -> Any:
        return card(item) if item else {}

    assert code_mark(card) == code_mark(card)


def test_a_lost_function_is_known_by_its_mark_but_makes_no_rows() -> None:
    lost = Lost("abc", "3.11")
    assert code_mark(lost) == "abc"
    with pytest.raises(LookupError, match="is gone"):
        lost({})
