"""A browser for each module, and a fresh page for each test that fails where the page's own code does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import browser as chromium

Opened = Callable[..., Page]

expect.set_options(timeout=6_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = chromium.chromium()
    if found is None:
        reason = f"needs Chromium: none of {', '.join(chromium.NAMES)} is on the PATH, {chromium.VARIABLE} names none"
        if os.environ.get("DYNAVIEW_REQUIRE_SERVERS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with chromium.browser(found) as running:
        yield running


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """Makes pages, with any option of `Browser.new_context`. Whatever their code throws, and whatever the policy of
    their server forbids them, fails the test."""
    contexts, wrong = [], list[str]()

    def open_page(**options: object) -> Page:
        context = browser.new_context(**options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if "Content Security Policy" in line.text else None)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
