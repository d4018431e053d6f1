"""Nothing is in the documents that is not there: links lead somewhere, commands and make targets exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dynaview.views.declarations.load import load

from . import command_lines
from .conftest import ROOMS

ROOT = Path(__file__).parents[2]
VARIABLES = {
    "REDIS_URL": "redis://cache:6379/0",
    "OPENSEARCH_URL": "http://search:9200",
    "DATABASE_URL": "postgresql://reads/shop",
}
"""What declarations in documents may ask the environment for."""

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])


def identify(path: Path) -> str:
    """How a document is called in test ids."""
    return path.relative_to(ROOT).as_posix()


def prose(text: str) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


def fenced(text: str, *languages: str) -> Iterator[str]:
    """The fenced blocks of a document that are in one of these languages."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        if language in languages:
            yield block


def shown_lines(text: str) -> Iterator[str]:
    """Everything in a document that a reader would type: lines of shell blocks and code within prose."""
    for block in fenced(text, "sh", "bash", "console", "shell"):
        yield from (line.strip() for line in block.replace("\\\n", " ").splitlines())
    yield from re.findall(r"`([^`\n]+)`", prose(text))


def anchors(text: str) -> set[str]:
    """The anchors that headings of a document make."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path) -> list[str]:
    """The relative links of a document that lead nowhere."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text())):
        file, _, anchor = link.partition("#")
        if "://" in file or file.startswith("mailto:"):
            continue
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())):
            broken.append(link)
    return broken


def unknown_commands(text: str) -> list[str]:
    """What a document shows of dynaview and make that is not there."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    unknown = []
    for line in shown_lines(text):
        arguments = command_lines.arguments(line)
        if arguments is not None and (problem := command_lines.problem(arguments)):
            unknown.append(f"{line}: {problem}")
        if (named := re.match(r"make ([a-z-]+)", line)) and named[1] not in targets:
            unknown.append(f"{line}: no such target")
    return unknown


@pytest.mark.parametrize("path", DOCUMENTS, ids=identify)
def test_links_lead_somewhere(path: Path) -> None:
    assert broken_links(path) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=identify)
def test_commands_exist(path: Path) -> None:
    assert unknown_commands(path.read_text()) == []


def declarations(text: str) -> list[str]:
    """The YAML blocks of a document that are whole declarations."""
    read = [(block, yaml.safe_load(block)) for block in fenced(text, "yaml")]
    return [block for block, found in read if isinstance(found, dict) and {"sources", "sinks", "views"} <= found.keys()]


@pytest.mark.parametrize("path", DOCUMENTS, ids=identify)
def test_declarations_are_right(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "dynaview.yaml"
    for block in declarations(path.read_text()):
        file.write_text(block)
        assert load([file], VARIABLES).views.keys() == yaml.safe_load(block)["views"].keys()


def test_the_readme_shows_a_declaration() -> None:
    assert len(declarations((ROOT / "README.md").read_text())) == 1


def test_the_documents_that_must_be_there_are_there() -> None:
    names = {identify(path) for path in DOCUMENTS}
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/operations.md"} <= names


def test_the_readme_or_the_first_page_of_the_site_links_every_page() -> None:
    linked = {"README.md"}
    for page in (ROOT / "README.md", ROOT / "docs" / "README.md"):
        links = re.findall(r"\]\(([^)\s#]+)", page.read_text())
        linked |= {identify(path) for link in links if (path := (page.parent / link).resolve()).is_relative_to(ROOT)}
    assert {identify(path) for path in DOCUMENTS} - linked == set()


def test_nothing_tells_to_install_what_is_on_no_index() -> None:
    """The name is registered nowhere: whoever registered it would be installed in our place."""
    sources = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    by_name = re.compile(
        r"(?:pip|uv|pipx) (?:add|install|tool install) +['\"]?dynaview(?![-\w])"
    )  # a file's name goes on with a version
    assert [identify(path) for path in [*DOCUMENTS, *sources] if by_name.search(path.read_text())] == []
    assert by_name.search("pip install 'dynaview[local]'")


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A title\n[x](b.md) [y](#a-title) [z](#another) [w](https://example.com)\n")
    assert broken_links(tmp_path / "a.md") == ["b.md", "#another"]


def test_an_unknown_command_is_seen() -> None:
    text = 'Use `eval "$(dynaview local upp)"`\n'
    text += "Use `dynaview runs -f x` or:\n\n```sh\n.venv/bin/dynaview --versoin  # soon\nmake tset\nmake test\n```\n"
    assert unknown_commands(text) == [
        ".venv/bin/dynaview --versoin  # soon: dynaview has no option --versoin",
        "make tset: no such target",
        'eval "$(dynaview local upp)": dynaview local has no command upp',
        "dynaview runs -f x: dynaview has no command runs",
    ]
