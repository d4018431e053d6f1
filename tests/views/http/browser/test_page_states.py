"""What the page shows: nothing yet, everything, trouble, a server that is gone, five hundred views."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from dynaview.views.states import ViewState
from tests.views.http.browser.conftest import Opened
from tests.views.http.browser.showing import declared, follow
from tests.views.http.conftest import Served


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of 500 views."""
    made = Served(tmp_path_factory.mktemp("many"), declared=declared(500))
    try:
        yield made
    finally:
        made.close()


def summary(page: Page, text: str | re.Pattern[str]) -> None:
    """See that the line at the top says so."""
    expect(page.locator("#summary")).to_have_text(text)


def test_before_anything_was_started_it_says_what_to_do(served_empty: Served, opened: Opened) -> None:
    page = opened()
    page.goto(served_empty.url)
    summary(page, "2 of 2 views need attention.")
    expect(page.locator("#rows tr")).to_have_count(2)
    expect(page.locator("#rows")).to_contain_text("never started")


def test_while_nothing_has_arrived_it_says_that_it_is_loading(served: Served, opened: Opened) -> None:
    page = opened()
    held: list[Route] = []
    page.route("**/api/*", lambda route: held.append(route))
    page.goto(served.url)
    summary(page, "Loading…")
    assert held
    page.unroute("**/api/*")  # which lets go on what is held
    summary(page, "All 2 views are well.")


def test_a_view_in_trouble_comes_first_and_says_why(served: Served, opened: Opened) -> None:
    page = opened()
    follow(served, "card", "lines")
    page.goto(served.url)
    summary(page, "All 2 views are well.")
    expect(page.locator("#rows tr").first).to_contain_text("card")
    served.control.states.set("lines", ViewState.REFUSED, "the password is wrong: set REDIS_URL")
    summary(page, "1 of 2 views needs attention.")
    expect(page.locator("#rows tr").first).to_contain_text("the password is wrong: set REDIS_URL")
    assert page.title() == "✗ dynaview"


def test_a_control_store_that_is_away_is_told_and_what_was_known_stays(served: Served, opened: Opened) -> None:
    page = opened()
    follow(served, "card", "lines")
    page.goto(served.url)
    summary(page, "All 2 views are well.")
    served.lose_control()
    summary(page, re.compile("The control store does not answer"))
    expect(page.locator("#rows tr")).to_have_count(2)
    served.regain_control()
    summary(page, "All 2 views are well.")


def test_a_server_that_is_gone_is_told(served: Served, opened: Opened) -> None:
    page = opened()
    page.goto(served.url)
    expect(page.locator("#rows tr")).to_have_count(2)
    served.server.stop()
    expect(page.get_by_role("alert")).to_contain_text("The connection to dynaview is lost")
    expect(page.locator("#rows tr")).to_have_count(2)


def test_five_hundred_views_are_shown_found_and_followed(many: Served, opened: Opened) -> None:
    many.begin(*many.declaration.views)
    follow(many, *many.declaration.views)
    page = opened()
    page.goto(many.url)
    expect(page.locator("#rows tr")).to_have_count(500)
    page.get_by_label("Find").fill("view499")
    expect(page.locator("#rows tr")).to_have_count(1)
    many.control.states.set("view499", ViewState.GAP, "records are gone")
    expect(page.locator("#rows")).to_contain_text("records are gone")
    page.get_by_label("Find").fill("attention")
    expect(page.locator("#rows tr")).to_have_count(1)
    page.get_by_label("Find").fill("")
    slow = page.evaluate(FRAME)
    assert slow < 500, f"an event with 500 views holds the page up for {slow} ms"


FRAME = """async () => {
    let longest = 0, last = performance.now();
    const until = last + 2500;
    while (last < until) {
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        longest = Math.max(longest, now - last);
        last = now;
    }
    return longest;
}"""
"""The longest time between two frames in two and a half seconds, which have two events."""
