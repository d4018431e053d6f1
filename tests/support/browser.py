"""A real browser for tests of the page: headless Chromium, the machine's own, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from playwright.sync_api import Browser, Page, sync_playwright

VARIABLE = "DYNAVIEW_TEST_CHROMIUM"
"""The environment variable that names a Chromium where it is not on the PATH."""

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

QUIET = (
    "--no-sandbox",  # in a container, and as root, it has none to make
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Options with which it asks nobody but the server under test."""

AXE = files("axe_playwright_python").joinpath("axe.min.js")


def chromium() -> str | None:
    """The path of this machine's Chromium, None where there is none."""
    return os.environ.get(VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def browser(executable: str) -> Iterator[Browser]:
    """A running browser with a profile of its own, empty, that goes with it. Its client keeps an event loop in this
    thread as long as it runs."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=QUIET, headless=True)
        try:
            yield running
        finally:
            running.close()


def serious(page: Page) -> list[str]:
    """What axe finds on the page as it is shown now and calls serious or critical: each rule with the places that
    break it."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text())  # not as a script element: the page's own policy would refuse that
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']}: {each['help']}: {', '.join(' '.join(map(str, node['target'])) for node in each['nodes'])}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]
