from __future__ import annotations

from collections.abc import Iterator

import pytest

from dynaview.sinks.port import Target
from tests.sinks.contract.columns import by_columns
from tests.sinks.contract.generations import Generations
from tests.sinks.contract.shop import Shop
from tests.sinks.contract.subjects import SUBJECTS, Subject

BY_COLUMNS = ("memory", "redis-hash", "postgres", "opensearch")
"""The stores that are written by columns as well."""


@pytest.fixture(params=[*SUBJECTS, *(f"{name} by columns" for name in BY_COLUMNS)], scope="session")
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Every store in turn; a store's server starts when its turn comes."""
    name, _, columns = str(request.param).partition(" by ")
    made = SUBJECTS[name](request)
    if columns:
        made = by_columns(made)
    yield made
    made.sink.close()


@pytest.fixture
def target(subject: Subject) -> Target:
    """Generation 1 of a fresh view."""
    return subject.open()


@pytest.fixture
def shop(subject: Subject, target: Target) -> Shop:
    return Shop(subject, target)


@pytest.fixture
def generations(subject: Subject) -> Generations:
    return Generations(subject)
