"""What is wrong with a file as a whole: YAML, shape, names across files."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dynaview.projections.declaration import DeclarationError
from dynaview.projections.reading.document import read_yaml
from dynaview.views.declarations.load import load

Problems = Callable[..., list[str]]

GOOD = """\
sources: {shop: {table: shop}}
sinks: {cache: {redis: "redis://cache"}}
views:
  one: {source: shop, sink: cache, key: "a:{id}", fields: {id: id}}
"""

CASES = {
    "empty": ("", ["1: declaration: the file is empty: declare sources, sinks and views in it"]),
    "only a comment": ("# nothing yet\n", ["1: declaration: the file is empty"]),
    "a list at the top": ("- sources\n", ["1: declaration: expected a mapping, found a list"]),
    "text at the top": ("hello\n", ["1: declaration: expected a mapping, found text"]),
    "no view": ("sources: {shop: {table: shop}}\n", ["1: views: no view is declared: add one under views"]),
    "tab": ("sources:\n\tshop: {table: shop}\n", ["2: yaml: a tab where YAML expects spaces"]),
    "wrong indentation": ("sources:\n  shop:\n    table: a\n   b: c\n", ["4: yaml: wrong indentation"]),
    "two colons": ("sources:\n  shop: table: a\n", ["2: yaml: a second ': ' in one line"]),
    "unclosed bracket": ("sources: {shop: {table: a}\nviews:\n", ["2: yaml: a bracket or quote that is not closed"]),
    "unclosed quote": ('sources: "shop\nviews: {}\n', ["3: yaml: a bracket or quote that is not closed"]),
    "bare template": (
        "views:\n  one:\n    key: {a}:{b}\n",
        ["3: yaml: wrong indentation, or text behind a quoted value or"],
    ),
    "star": ("views:\n  one: {where: *}\n", ["2: yaml: not YAML"]),
    "unknown alias": ("views:\n  one: *two\n", ["2: yaml: an alias (*name) without its anchor"]),
    "at sign": ("views:\n  one: @two\n", ["2: yaml: a value can't begin with this character"]),
    "two documents": (GOOD + "---\n" + GOOD, ["5: yaml: a second document (---)"]),
    "control character": ("sources:\n  shop: \x07\n", ["2: yaml: a character that YAML does not allow"]),
    "duplicate key": (GOOD + "sources: {}\n", ["5: sources: stands twice, first on line 1"]),
    "duplicate view": (GOOD + "  one: {}\n", ["5: views.one: stands twice, first on line 4"]),
    "tag": (
        GOOD.replace("table: shop", "table: !!python/name:os.system x"),
        ["1: sources.shop.table: YAML tags (!name)"],
    ),
    "alias of itself": (GOOD + "x-a: &a [*a]\n", ["5: x-a[0]: an alias that contains itself"]),
    "list as a key": (GOOD + "? [a]\n: b\n", ["5: declaration: a list or mapping as key"]),
    "unknown key at the top": (GOOD + "sink: {}\n", ["5: sink: unknown key, did you mean sinks?"]),
    "names": (
        GOOD + "  1st: {source: shop, sink: cache, key: 'b:{id}', fields: {id: id}}\n",
        ["5: views.1st: not a name"],
    ),
    "modules": (GOOD + "python: views\n", ["5: python: expected a list, found text"]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_file_is_refused_with_its_line(name: str, problems: Problems) -> None:
    text, expected = CASES[name]
    found = problems(text)
    beginnings = [f"dynaview.yaml:{line}" for line in expected]
    assert [line[: len(beginning)] for line, beginning in zip(found, beginnings, strict=True)] == beginnings, found


def test_the_file_of_the_cases_is_right(problems: Problems) -> None:
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    "rubbish",
    [
        pytest.param(random.Random(1).randbytes(5_000_000), id="bytes"),
        pytest.param(b"lorem ipsum " * 400_000, id="words"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b"a: &a [*b]\n" * 5_000, id="repeated"),
        pytest.param(b"".join(b"k%d: v\n" % number for number in range(8_000)), id="keys"),
        pytest.param(b"a: 1\n" * 10_000, id="duplicates"),
    ],
)
def test_rubbish_is_refused_soon(rubbish: bytes, folder: Path) -> None:
    Path("dynaview.yaml").write_bytes(rubbish)
    begun = time.monotonic()
    with pytest.raises(DeclarationError) as refused:
        load([Path("dynaview.yaml")], {})
    assert time.monotonic() - begun < 30
    assert 1 <= len(refused.value.problems) < 500
    assert len(str(refused.value)) < 200_000


def test_merges_cost_what_they_bring() -> None:
    lines = ["x-0: &a {k: v}"] + [f"x-{number}: {{<<: *a}}" for number in range(1, 15_000)]
    begun = time.process_time()
    document = read_yaml("\n".join(lines), "f.yaml")
    assert document.data["x-14999"] == {"k": "v"}
    # It took half a minute while each merge copied all lines before it.
    assert time.process_time() - begun < 15


def test_aliases_that_multiply_are_refused(problems: Problems) -> None:
    lines = ["x-0: &a0 [" + ", ".join(["v"] * 10) + "]"]
    lines += [f"x-{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
    assert problems("\n".join(lines)) == [
        "dynaview.yaml:1: yaml: more than 100,000 keys and values: this is no declaration"
    ]


def test_files_that_cannot_be_read(folder: Path) -> None:
    Path("folder.yaml").mkdir()
    Path("latin.yaml").write_bytes("sources: {é: {}}".encode("latin-1"))
    with pytest.raises(DeclarationError) as refused:
        load([Path("missing.yaml"), Path("folder.yaml"), Path("latin.yaml")], {})
    missing, is_folder, latin = map(str, refused.value.problems)
    assert missing.startswith("missing.yaml:1: declaration: there is no such file")
    assert is_folder.startswith("folder.yaml:1: declaration: a folder, not a file")
    assert latin == "latin.yaml:1: declaration: not a text file in UTF-8"


def test_a_byte_order_mark_is_no_problem(folder: Path) -> None:
    Path("dynaview.yaml").write_text(GOOD, encoding="utf-8-sig")
    assert list(load([Path("dynaview.yaml")], {}).views) == ["one"]


def test_several_files_are_one_declaration(folder: Path) -> None:
    base, _, view = GOOD.partition("views:")
    Path("base.yaml").write_text(base)
    Path("views.yaml").write_text("views:" + view)
    declaration = load([Path("base.yaml"), Path("views.yaml")], {})
    assert (declaration.file, list(declaration.views)) == ("base.yaml", ["one"])
    Path("again.yaml").write_text("control: sqlite:///a.db\n" + GOOD)
    Path("base.yaml").write_text("control: sqlite:///b.db\n" + base)
    with pytest.raises(DeclarationError) as refused:
        load([Path("base.yaml"), Path("views.yaml"), Path("again.yaml")], {})
    assert [str(problem) for problem in refused.value.problems] == [
        "again.yaml:1: control: declared already at base.yaml:1: there is one control store",
        "again.yaml:2: sources.shop: declared already at base.yaml:2: give it another name",
        "again.yaml:3: sinks.cache: declared already at base.yaml:3: give it another name",
        "again.yaml:5: views.one: declared already at views.yaml:2: give it another name",
    ]


def targets(first: str, second: str) -> str:
    return f"""\
        sources: {{shop: {{table: shop}}}}
        sinks:
          a: {{redis: "redis://cache/0"}}
          b: {{redis: "redis://cache/1"}}
          c: {{redis: "redis://cache/0"}}
          s: {{opensearch: "http://search"}}
          p: {{postgres: "postgresql://reads/shop"}}
        views:
          one: {{source: shop, {first}}}
          two: {{source: shop, {second}}}
        """


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ('sink: a, key: "c:{x}", fields: {x: x}', 'sink: a, key: "c:{y}", fields: {y: y}', True),
        ('sink: a, key: "c:{x}", fields: {x: x}', 'sink: c, key: "c:{x}", fields: {x: x}', True),
        ('sink: a, key: "c:{x}", fields: {x: x}', 'sink: b, key: "c:{x}", fields: {x: x}', False),
        ('sink: a, key: "c:{x}", fields: {x: x}', 'sink: a, key: "d:{x}", fields: {x: x}', False),
        ('sink: a, key: "c:{x}", fields: {x: x}', 'sink: a, key: "c:{x}:d", fields: {x: x}', True),
        ('sink: a, key: "{x}:c", fields: {x: x}', 'sink: a, key: "{x}:d", fields: {x: x}', False),
        (
            'sink: a, key: "c:{x}", fields: {x: x}',
            'sink: a, type: set, key: "c:all", member: "{x}", fields: {x: x}',
            True,
        ),
        (
            'sink: a, key: "c:{x}", fields: {x: x}',
            'sink: a, type: set, key: call, member: "{x}", fields: {x: x}',
            False,
        ),
        ('sink: s, index: i, key: "{x}", fields: {x: x}', 'sink: s, index: i, key: "{y}", fields: {y: y}', True),
        ('sink: s, index: i, key: "{x}", fields: {x: x}', 'sink: s, index: j, key: "{x}", fields: {x: x}', False),
        (
            "sink: p, table: t, key: x, fields: {x: x}",
            "sink: p, table: t, schema: public, key: y, fields: {y: y}",
            True,
        ),
        (
            "sink: p, table: t, key: x, fields: {x: x}",
            "sink: p, table: t, schema: other, key: x, fields: {x: x}",
            False,
        ),
    ],
)
def test_two_views_on_one_target_are_refused(first: str, second: str, same: bool, problems: Problems) -> None:
    found = problems(targets(first, second))
    assert len(found) == same, found
    if same:
        assert found[0].startswith("dynaview.yaml:10: views.two: ")
        assert "view one (dynaview.yaml:9)" in found[0]
