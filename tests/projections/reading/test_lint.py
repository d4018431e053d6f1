"""What is most likely not meant is told, and stops nothing."""

from __future__ import annotations

import textwrap

import pytest

from tests.projections.reading.conftest import ENVIRON, FRAME, Load

VIEW = """\
views:
  v:
    source: shop
    sink: cache
    match: {pk: "C#{id}"}
    key: "c:{id}"
"""


@pytest.fixture
def warned(load_text: Load):  # type: ignore[no-untyped-def]  # a function of the fixture's own
    def found(text: str) -> list[str]:
        declaration = load_text(FRAME + VIEW + textwrap.indent(text, "    "), ENVIRON)
        assert "v" in declaration.views
        return [str(warning).partition(": views.v.")[2] for warning in declaration.warnings]

    return found


@pytest.mark.parametrize(
    ("where", "warning"),
    [
        ("active == true", "true is the attribute of that name: write `true` in backticks, or _item.true"),
        ("active != False", "False is the attribute of that name: write `false` in backticks"),
        ("deleted == null", "null is the attribute of that name: write `null` in backticks"),
        ("true", "true is the attribute of that name"),
        ("tags[?live == true]", "true is the attribute of that name"),
        ('status == "ACTIVE"', "\"ACTIVE\" is the attribute of that name: text stands in single quotes, 'ACTIVE'"),
        ('"ACTIVE" == status', '"ACTIVE" is the attribute of that name'),
        ('tags && contains(tags, "x y")', '"x y" is the attribute of that name'),
        ('starts_with(pk, "C#")', '"C#" is the attribute of that name'),
        ("'ACTIVE'", "reads nothing of the item, so it is the same for every item"),
        ("`true`", "reads nothing of the item"),
        ("status == 'A' || 'B'", "'B' alone is no comparison, and always the same: write a == 'B' on each side"),
        ("status == 'A' && `true`", "`true` alone is no comparison"),
        (
            "contains(tags, 'x')",
            "items without tags become dead letters, because contains() takes no null: write tags && ",
        ),
        ("length(a.b) > `1`", "items without a.b become dead letters, because length() takes no null"),
        ("!starts_with(name, 'x')", "items without name become dead letters"),
        ("status == '\\u201cACTIVE\\u201d'", "a text begins with a typographic quote"),
    ],
)
def test_a_filter_that_is_most_likely_not_meant(warned, where: str, warning: str) -> None:  # type: ignore[no-untyped-def]
    (found,) = warned(f"fields: {{n: n}}\nwhere: >-\n  {where}\n".encode().decode("unicode_escape"))
    assert found.startswith(f"where: warning: {warning}")


@pytest.mark.parametrize(
    "where",
    [
        "active == `true`",
        "_item.true == `true`",
        "flags.true",
        "status == 'ACTIVE'",
        "\"first-name\" == 'Ann'",
        "a == b",
        "public",
        "tags && contains(tags, 'x')",
        "!tags || contains(tags, 'x')",
        "type(tags) == 'array' && contains(tags, 'x')",
        "starts_with(pk, 'C#') && starts_with(id, '7')",
        "upper(name) == 'X'",
        "not_null(a, b)",
        "to_string(a) == 'x'",
        'contains(`["A", "B"]`, status)',
    ],
)
def test_a_filter_that_is_meant(warned, where: str) -> None:  # type: ignore[no-untyped-def]
    assert warned(f"fields: {{n: n}}\nwhere: >-\n  {where}\n") == []


def test_fields_patterns_and_templates_are_looked_at(load_text: Load) -> None:
    text = FRAME + VIEW.replace('"C#{id}"', '"C#*"').replace('"c:{id}"', '"\u201cc:{n}\u201d"')
    found = load_text(text + '    fields: {n: n, live: "a == true", constant: "\'x\'"}\n', ENVIRON)
    assert [str(warning).partition(": views.v.")[2] for warning in found.warnings] == [
        "match.pk: warning: * stands for itself: write a name in braces for any text, as in {id}",
        "fields.live: warning: true is the attribute of that name: write `true` in backticks, "
        "or _item.true if you mean it",
        "key: warning: begins or ends with a typographic quote, which stands for itself: use straight quotes",
    ]
