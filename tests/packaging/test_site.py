"""The documentation as a site: it builds without a warning and loads nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from dynaview.views.cli import cli

from .conftest import Clone


@pytest.fixture(scope="module")
def site(clone: Clone, tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    assert (tools / "mkdocs").is_file()
    folder = tmp_path_factory.mktemp("site")
    done = make_docs(clone, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def make_docs(clone: Clone, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ``make docs``; a broken link or anchor, or a page that no menu names, is an error."""
    words = ["make", "docs", f"SITE={folder / 'site'}", f"PAGES={folder / 'pages'}"]
    return subprocess.run(words, cwd=clone.root, capture_output=True, text=True, timeout=200, check=False)


def test_every_page_is_built(clone: Clone, site: Path) -> None:
    pages = [path.relative_to(site / "pages" / "docs") for path in (site / "pages" / "docs").rglob("*.md")]
    assert len(pages) > 25
    for page in pages:
        built = site / "site" / (page.parent if page.name == "README.md" else page.with_suffix("")) / "index.html"
        assert built.is_file(), page


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in (site / "site").rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|link)[^>]*(?:src|href)=\"?(https?://[^\s\">]+)", page.read_text())
        assert loaded == [], page


def test_the_reference_has_every_command(site: Path) -> None:
    text = (site / "pages" / "docs" / "reference" / "commands.md").read_text()
    for name, command in cli.commands.items():
        assert command.hidden or f"## dynaview {name}" in text, name


def test_the_list_for_agents_leads_to_pages_that_are_there(site: Path) -> None:
    text = (site / "site" / "llms.txt").read_text()
    assert text.startswith("# dynaview\n\n> ")
    linked = re.findall(r"\]\(([^)]+)\)", text)
    assert len(linked) > 15
    assert [link for link in linked if not (site / "pages" / "docs" / link).is_file()] == []


def test_a_broken_link_would_be_an_error(tools: Path, site: Path) -> None:
    (site / "pages" / "docs" / "skill.md").write_text("# Skill\n\n[x](missing.md)\n")
    done = subprocess.run(
        [tools / "mkdocs", "build", "--strict", "--site-dir", site / "again"],
        cwd=site / "pages",
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode != 0
    assert "missing.md" in done.stderr


def test_the_menu_names_no_page_twice(clone: Clone) -> None:
    menu = str(yaml.safe_load((clone.root / "mkdocs.yml").read_text())["nav"])
    named = re.findall(r"[\w/-]+\.md", menu)
    assert sorted(named) == sorted(set(named))
