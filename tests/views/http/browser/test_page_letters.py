"""Dead letters on the page: ten thousand of them, markup in them, opened and discarded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from dynaview.views.control.records import DeadLetterFilter
from tests.views.http.browser.conftest import Opened
from tests.views.http.browser.showing import MARKUP, fill_letters, follow, letter
from tests.views.http.conftest import TOKEN, Served


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of a view with 10,000 dead letters, the first of them full of markup."""
    made = Served(tmp_path_factory.mktemp("letters"))
    made.begin("card", "lines")
    follow(made, "card", "lines")
    made.control.dead_letters.keep([letter("card", 0, reason=f"{MARKUP} is no decimal", key=MARKUP)])
    fill_letters(made, "card", 1, 9999)
    try:
        yield made
    finally:
        made.close()


def unlock(page: Page) -> None:
    """Give the token."""
    page.get_by_role("button", name="Unlock changes").click()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Unlock", exact=True).click()


def test_markup_and_control_characters_are_text(full: Served, opened: Opened) -> None:
    page = opened()
    page.on("dialog", lambda dialog: pytest.fail(f"it ran: {dialog.message}"))
    page.goto(f"{full.url}/#card")
    first = page.locator("#letters tbody tr").first
    expect(first).to_contain_text("<img src=x onerror=alert(1)>")
    expect(first).to_contain_text("\\u0000")
    assert page.locator("#detail img").count() == 0
    assert "\u202e" not in first.inner_text()


def test_of_ten_thousand_a_page_is_shown_and_the_rest_is_found(full: Served, opened: Opened) -> None:
    page = opened()
    page.goto(f"{full.url}/#card")
    rows = page.locator("#letters tbody tr")
    expect(page.locator("#letters h3")).to_have_text("Dead letters (10,000)")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Show 50 more").click()
    expect(rows).to_have_count(100)
    page.get_by_label("Key", exact=True).fill("C#9876")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("C#9876")
    page.get_by_label("Key", exact=True).fill("C#none")
    expect(page.locator("#letters")).to_contain_text("None fits.")


def test_a_letter_is_opened_and_discarded_with_the_token_only(full: Served, opened: Opened) -> None:
    page = opened()
    page.goto(f"{full.url}/#card")
    page.get_by_label("Key", exact=True).fill("C#5000")
    rows = page.locator("#letters tbody tr")
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Open dead letter 5001").click()
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Unlock", exact=True).click()
    expect(page.locator("#said")).to_contain_text("a bearer token is needed")
    unlock(page)
    page.get_by_role("button", name="Open dead letter 5001").click()
    expect(page.locator("#letters pre")).to_contain_text('"S": "C#5000"')
    page.get_by_role("button", name="Discard dead letter 5001").click()
    page.get_by_role("button", name="Discard", exact=True).click()
    expect(page.locator("#said")).to_contain_text("Dead letter 5001 is discarded.")
    assert full.control.dead_letters.count(DeadLetterFilter(ids=(5001,))) == (0, 0)


def test_without_a_token_of_the_server_nothing_can_be_pressed(
    tmp_path_factory: pytest.TempPathFactory, opened: Opened
) -> None:
    made = Served(tmp_path_factory.mktemp("locked"), token=None)
    try:
        made.begin("card", "lines")
        made.control.dead_letters.keep([letter("card", 1)])
        page = opened()
        page.goto(f"{made.url}/#card")
        expect(page.get_by_role("button", name="Discard dead letter 1")).to_be_disabled()
        expect(page.get_by_role("button", name="Rebuild")).to_be_disabled()
        expect(page.locator("#detail")).to_contain_text("DYNAVIEW_HTTP_TOKEN")
    finally:
        made.close()
