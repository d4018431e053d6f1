"""All functions of expressions by name, and what is meant by names that are none."""

from __future__ import annotations

from collections.abc import Mapping

from dynaview.projections.added_functions import ADDED
from dynaview.projections.functions import STANDARD, Function
from dynaview.projections.suggestions import did_you_mean

FUNCTIONS: Mapping[str, Function] = {**STANDARD, **ADDED}

_MEANT = {
    name: remedy
    for names, remedy in (
        ("concat concatenate", "write join('', [a, b])"),
        ("ifnull isnull nvl default", "write coalesce(a, b)"),
        ("lcase tolower to_lower lowercase", "write lower(a)"),
        ("ucase toupper to_upper uppercase", "write upper(a)"),
        ("strip ltrim rtrim", "write trim(a)"),
        ("len size count cardinality", "write length(a)"),
        ("substr left right mid slice", "write substring(a, `0`, `3`)"),
        ("plus", "write add(a, b)"),
        ("minus", "write subtract(a, b)"),
        ("times mul", "write multiply(a, b)"),
        ("div", "write divide(a, b)"),
        ("mod", "write modulo(a, b)"),
        ("mean average", "write avg(a)"),
        ("int integer float number decimal", "write to_number(a)"),
        ("str string text json", "write to_string(a)"),
        ("begins_with startswith startsWith", "write starts_with(a, 'x')"),
        ("endswith endsWith", "write ends_with(a, 'x')"),
        (
            "includes has in like matches regex regexp",
            "write contains(a, 'x'), starts_with(a, 'x') or ends_with(a, 'x')",
        ),
        ("exists attribute_exists defined", "write a != `null`"),
        ("attribute_not_exists not_exists is_null", "write a == `null`"),
        ("if iif iff case when", "write condition && a || b"),
        ("year month day hour minute second week weekday quarter", "write date_part(a, 'year')"),
        ("date_trunc extract to_date date datetime", "write date_part(a, 'year'), or give the field a type"),
        ("now today current_date getdate", "the same item has to give the same row tomorrow, so there is no clock"),
        ("random uuid rand", "the same item has to give the same row tomorrow, so nothing is random"),
    )
    for name in names.split()
}


def no_such_function(name: str) -> str:
    """The message about a function that does not exist, with the one that may be meant."""
    meant = _MEANT.get(name) or _MEANT.get(name.lower())
    remedy = f": {meant}" if meant is not None else did_you_mean(name, FUNCTIONS)
    return f"there is no function {name}(){remedy}"
