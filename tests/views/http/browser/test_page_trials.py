"""What a view is declared as and what it would make of an item, and a view that is paused and goes on, on the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dynaview.views.declarations.codec import encode
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.declarations.load import load
from dynaview.views.states import ViewState
from tests.support.browser import serious
from tests.support.first_fill import set_filled
from tests.views.http.browser.conftest import Opened
from tests.views.http.browser.showing import follow
from tests.views.http.conftest import DECLARED, TOKEN, Served


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of a view whose rows were built by an earlier declaration, and one that is as it was built."""
    folder = tmp_path_factory.mktemp("changed")
    made = Served(folder)
    try:
        old = load([earlier(folder)], {}).views["card"]
        made.control.add_view("card", "shop", "cache", fingerprint(old, "shop"), "arn", encode(old))
        same = made.declaration.views["lines"]
        made.control.add_view("lines", "shop", "cache", fingerprint(same, "shop"), "arn", encode(same))
        set_filled(made.control, "card")
        follow(made, "card", "lines")
        yield made
    finally:
        made.close()


def earlier(folder: Path) -> Path:
    """The declaration that built the rows."""
    file = folder / "earlier.yaml"
    text = DECLARED.format(control=f"sqlite:///{folder}/control.db")
    file.write_text(text.replace("fields: {pk: pk}", "where: \"pk != '<b>x'\", fields: {pk: pk}", 1))
    return file


def unlock(page: Page) -> None:
    """Give the token to a dialog that asks for it."""
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")


def test_a_declaration_shows_what_changed_since_the_rows_were_built(changed: Served, opened: Opened) -> None:
    page = opened()
    page.goto(f"{changed.url}/#card")
    box = page.locator("#declaration")
    expect(box.locator("del")).to_have_text("pk != '<b>x'")
    expect(box).to_contain_text("dynaview rebuild card starts it")
    box.get_by_text("All of it").click()
    expect(box.get_by_role("row", name="fields.pk")).to_contain_text("{from: pk, type: any}")
    page.goto(f"{changed.url}/#lines")
    expect(box).not_to_contain_text("Rows were built by")


def test_an_item_is_tried_and_told_why_it_gives_none(changed: Served, opened: Opened) -> None:
    page = opened()
    page.goto(f"{changed.url}/#card")
    box = page.locator("#preview")
    box.get_by_label("An item or a key").fill('{"pk": "<script>alert(1)</script>"}')
    box.get_by_role("button", name="Show its rows").click()
    unlock(page)
    expect(box).to_contain_text("It gives rows")
    expect(box).to_contain_text("Row c:<script>alert(1)</script>")
    assert serious(page) == []
    box.get_by_label("An item or a key").fill('{"other": 1}')
    box.get_by_role("button", name="Show its rows").click()
    expect(box).to_contain_text("It would be a dead letter")
    box.get_by_label("An item or a key").fill("{")
    box.get_by_role("button", name="Show its rows").click()
    expect(box.locator(".error")).to_contain_text("not JSON")


def test_what_is_being_typed_outlasts_the_next_events(changed: Served, opened: Opened) -> None:
    page = opened()
    page.goto(f"{changed.url}/#card")
    text = page.get_by_label("An item or a key")
    text.fill('{"pk": ')
    changed.control.states.set("card", ViewState.RETRYING, "it has had an event")
    expect(page.locator("#problem")).to_have_text("it has had an event")
    expect(text).to_have_value('{"pk": ')
    expect(text).to_be_focused()


def test_a_view_is_paused_and_goes_on(changed: Served, opened: Opened) -> None:
    page = opened()
    page.goto(f"{changed.url}/#lines")
    page.get_by_role("button", name="Pause").click()
    page.locator("#ask-ok").click()
    unlock(page)
    expect(page.locator("#detail")).to_contain_text("Paused since")
    record = changed.control.view("lines")
    assert record is not None
    assert record.paused is not None
    page.get_by_role("button", name="Resume").click()
    page.locator("#ask-ok").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    record = changed.control.view("lines")
    assert record is not None
    assert record.paused is None
