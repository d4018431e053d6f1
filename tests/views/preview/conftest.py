from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dynaview.views.cli import cli

SHOP = """
sources:
  shop: {table: shop}
sinks:
  cache: {redis: "redis://127.0.0.1:1"}
  reads: {postgres: "postgresql://127.0.0.1:1/x"}
  search: {opensearch: "http://127.0.0.1:1"}
views:
  orders:
    source: shop
    match: {pk: "CUSTOMER#{customer}", sk: "ORDER#{order}"}
    where: status != 'DRAFT'
    sink: reads
    table: orders
    key: order
    fields: {order: order, customer: customer, total: {type: decimal, column: "numeric(6,2)"}}
  lines:
    source: shop
    match: {pk: "CUSTOMER#{customer}", sk: "ORDER#{order}"}
    each: lines
    sink: search
    index: lines
    key: "{order}:{sku}"
    fields: {sku: sku, quantity: {type: integer}}
  by_mail:
    source: shop
    match: {pk: "CUSTOMER#{customer}", sk: PROFILE}
    sink: cache
    key: "mail:{mail}"
    fields: {mail: mail}
"""
"""Stores that do not answer: nothing here may ask them."""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a declaration, as the working folder."""
    (tmp_path / "dynaview.yaml").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture
def run(shop: Path) -> Callable[..., Result]:
    """Runs a command in that folder, as people do."""

    def run(*words: str, input: str | None = None) -> Result:
        return CliRunner().invoke(cli, list(words), input=input)

    return run
