"""Makes the pictures of the page in docs/: a shop's views on a staged control store, so that they come out alike."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, expect

from dynaview.views.control.records import Checkpoint, DeadLetter, Part, Progress, VerificationResult
from dynaview.views.declarations.codec import encode
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.states import ViewState
from tests.support import browser
from tests.support.first_fill import set_filled
from tests.views.http.conftest import TOKEN, Served

ROOT = Path(__file__).parents[4]
PICTURES = ROOT / "docs" / "images"

RATES = {
    "customer_card": 41,
    "order_lines": 87,
    "order_search": 87,
    "orders": 87,
    "product": 12,
    "products_by_price": 12,
}
"""Changes a second of each view."""

SHARD = "shardId-00000001796085205589-01d31600"

STAGED = 35
"""Seconds that the page watches before the pictures are taken."""

TRIED = """{"pk": "CUSTOMER#c7", "sk": "ORDER#o1001", "status": "PLACED", "placed_at": "2026-11-30T20:31:04Z",
 "total": 25.50, "shipping": {"city": "London"}, "lines": [{"sku": "tea", "quantity": 2}]}"""


def stage(served: Served) -> None:
    """Let the shop's views be built and have a history, one of them in trouble."""
    for name, view in served.declaration.views.items():
        served.control.add_view(name, view.source, view.sink, fingerprint(view, "shop"), "arn", encode(view))
        set_filled(served.control, name)
        served.control.states.set(name, ViewState.FOLLOWING)
        served.control.verifications.save(
            VerificationResult(view=name, begun=time.time() - 5400, seconds=41, rows=180_233)
        )
        served.control.commit(name, Progress({SHARD: Part(Checkpoint(10**25, time.time()))}), time.time())
    why = "redis://cache:6379 is out of memory: raise maxmemory, or free some; the view goes on by itself"
    served.control.states.set("product", ViewState.RETRYING, why)
    reason = "field total: '12,50' is no decimal"
    letters = []
    for number in range(3):
        key = f'{{"pk":{{"S":"CUSTOMER#c{number}"}},"sk":{{"S":"ORDER#o{400 + number}"}}}}'
        letters.append(
            DeadLetter("order_search", key, f"o{400 + number}", 1, "s", time.time(), "projection", reason, b"{}")
        )
    served.control.dead_letters.keep(letters)


def move(served: Served, second: int) -> None:
    """Let a second pass in the shop."""
    now = time.time()
    with sqlite3.connect(served.folder / "control.db") as connection:
        for number, (view, rate) in enumerate(RATES.items()):
            stands = view == "product"
            read = 4_812_000 + (0 if stands else second * rate)
            lag = 95 + second if stands else 1.6 + 0.7 * math.sin(second / 2 + number)
            connection.execute(
                'UPDATE dynaview_views SET seen = ?, watermark = ?, "read" = ?, applied = ?, dead_lettered = ? '
                "WHERE name = ?",
                [now + 60, now - lag, read, read - 3, 3, view],
            )


def open_page(page: Page, served: Served, view: str = "") -> None:
    """Open the list or a view, and wait until all of it is there."""
    page.goto(f"{served.url}/#{view}")
    expect(page.locator("#declaration .note") if view else page.locator("#rows tr").first).not_to_have_text("Loading…")


def main() -> None:
    """Write the pictures."""
    executable = browser.chromium()
    if executable is None:
        sys.exit(f"needs Chromium: apt-get install chromium, or name one by {browser.VARIABLE}")
    declared = (ROOT / "examples" / "shop.yaml").read_text()
    for variable, url in (
        ("REDIS", "redis://cache"),
        ("OPENSEARCH", "http://search"),
        ("DATABASE", "postgresql://reads/x"),
    ):
        declared = declared.replace(f"${{{variable}_URL}}", url)
    declared = declared.replace("${CONTROL_URL:-sqlite:///dynaview.db}", "CONTROL").replace(
        "${DYNAMODB_ENDPOINT:-}", ""
    )
    declared = declared.replace("{", "{{").replace("}", "}}").replace("CONTROL", "{control}")
    PICTURES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),  # the page shows where the declaration is: of somebody, not of this machine
        browser.browser(executable) as running,
    ):
        served = Served(Path(), declared=declared)
        try:
            stage(served)
            move(served, 0)
            light = running.new_page(viewport={"width": 1280, "height": 640}, color_scheme="light")
            phone = running.new_page(viewport={"width": 390, "height": 780}, color_scheme="dark", device_scale_factor=2)
            for page in (light, phone):
                open_page(page, served)
            for second in range(STAGED):
                move(served, second)
                light.wait_for_timeout(1000)
            light.screenshot(path=PICTURES / "page.png")
            phone.screenshot(path=PICTURES / "page-phone.png")
            open_page(light, served, "order_search")
            light.get_by_label("An item or a key").fill(TRIED)
            light.get_by_role("button", name="Show its rows").click()
            light.get_by_label("Token").fill(TOKEN)
            light.keyboard.press("Enter")
            expect(light.locator("#preview")).to_contain_text("It gives rows")
            light.evaluate("scrollTo(0, 0)")
            light.screenshot(path=PICTURES / "page-view.png", full_page=True)
        finally:
            served.close()


if __name__ == "__main__":
    main()
