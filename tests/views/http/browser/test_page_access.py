"""Whether everybody can use the page: by keyboard, in the dark, on a phone, with a screen reader."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from dynaview.views.control.records import Options
from dynaview.views.states import ViewState
from tests.support.browser import serious
from tests.views.http.browser.conftest import Opened
from tests.views.http.browser.showing import follow, keep, letter, verified
from tests.views.http.conftest import TOKEN, Served


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of a view that is well and one in trouble, with dead letters, a rebuild and a verification."""
    made = Served(tmp_path_factory.mktemp("told"))
    made.begin("card", "lines")
    follow(made, "card", "lines")
    made.control.states.set(
        "lines", ViewState.RETRYING, "redis://127.0.0.1:1 does not answer: start it, " + "or wait " * 40
    )
    made.control.dead_letters.keep([letter("lines", number, reason="not a decimal " * 30) for number in range(3)])
    made.control.verifications.save(verified("lines", different=2))
    made.control.rebuilds.request(["lines"], "shop", {"lines": "x"}, Options())
    keep(made)
    try:
        yield made
    finally:
        made.close()


def open_detail(page: Page, served: Served) -> None:
    """Open the view in trouble, as soon as all of it is there."""
    page.goto(f"{served.url}/#lines")
    expect(page.locator("#letters tbody tr")).to_have_count(3)
    expect(page.get_by_role("heading", name="Shards (0)")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious(told: Served, opened: Opened, scheme: str, width: int) -> None:
    page = opened(color_scheme=scheme, viewport={"width": width, "height": 800})
    page.goto(told.url)
    expect(page.locator("#rows tr")).to_have_count(2)
    assert serious(page) == []
    open_detail(page, told)
    assert serious(page) == []
    page.get_by_role("button", name="Discard dead letter 1").click()
    assert serious(page) == []
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Unlock changes").click()
    assert serious(page) == []


def test_axe_sees_what_is_wrong(told: Served, opened: Opened) -> None:
    page = opened()
    page.goto(told.url)
    page.evaluate("document.getElementById('filter').closest('label').replaceWith(document.getElementById('filter'))")
    page.evaluate("document.getElementById('filter').removeAttribute('placeholder')")
    assert any(found.startswith("label:") for found in serious(page))


def test_dark_and_light_differ(told: Served, opened: Opened) -> None:
    def paper(scheme: str) -> int:
        page = opened(color_scheme=scheme)
        page.goto(told.url)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))

    assert paper("dark") < 150 < 600 < paper("light")


@pytest.mark.parametrize("width", [320, 390])
def test_on_a_phone_nothing_is_cut_off(told: Served, opened: Opened, width: int) -> None:
    page = opened(viewport={"width": width, "height": 700}, is_mobile=True)
    page.goto(told.url)
    row = page.locator("#rows tr").first
    expect(row).to_contain_text("does not answer")
    expect(row.get_by_text("retrying")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    open_detail(page, told)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_everything_is_done_by_keyboard(told: Served, opened: Opened) -> None:
    page = opened()
    page.goto(told.url)
    expect(page.locator("#rows tr")).to_have_count(2)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the views")).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("line")
    expect(page.locator("#rows tr")).to_have_count(1)
    name = page.get_by_role("button", name="lines")
    press_tab_until(page, "lines")
    expect(name).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#detail")).to_be_focused()
    expect(page.locator("#letters tbody tr")).to_have_count(3)
    press_tab_until(page, "Discard dead letter 1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Discard dead letter 1")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    expect(name).to_be_focused()


def test_what_an_event_draws_again_leaves_the_focus(told: Served, opened: Opened) -> None:
    page = opened()
    open_detail(page, told)
    page.get_by_role("button", name="Unlock changes").click()
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    button = page.get_by_role("button", name="Cancel the rebuild")
    button.focus()
    told.control.rebuilds.answer("lines", "cancel")
    told.control.states.set("lines", ViewState.RETRYING, "something else")
    expect(page.locator("#problem")).to_have_text("something else")
    expect(button).to_be_focused()


def press_tab_until(page: Page, name: str) -> None:
    """Go on with the Tab key until what has this name has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
        )
        if focused == name:
            return
    raise AssertionError(f"the Tab key never came to {name}")
