from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.sinks.postgres.database import Database


@pytest.fixture(scope="session")
def admin(postgres_url: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(postgres_url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def database(postgres_url: str, admin: psycopg.Connection[tuple[Any, ...]]) -> Iterator[Database]:
    made = Database(postgres_url.replace("postgresql+psycopg://", "postgresql://"), admin)
    yield made
    for sink in made.sinks:
        sink.close()
