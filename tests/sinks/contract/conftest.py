from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from dynaview.sinks.port import Target
from tests.sinks.contract.columns import by_columns
from tests.sinks.contract.generations import Generations
from tests.sinks.contract.shop import Shop
from tests.sinks.contract.subjects import SUBJECTS, Subject

BY_COLUMNS = ("memory", "redis-hash", "redis-cluster-hash", "postgres", "opensearch")
"""The stores that are written by columns as well."""


OF_SERVERLESS = {
    "test_outcomes_are_in_the_order_of_a_mixed_batch",
    "test_an_update_leaves_nothing_of_the_old_values",
    "test_a_live_row_of_another_item_is_never_overwritten",
    "test_any_interleaving_ends_in_the_last_version_of_each_row",
    "test_no_conditional_write_undoes_a_newer_change",
    "test_of_many_writers_at_once_the_last_version_wins",
    "test_prepare_at_once_from_several_workers",
    "test_readers_see_what_was_published_last",
    "test_purge_keeps_young_tombstones_and_all_rows",
    "test_check_says_what_the_store_is",
    "test_a_store_that_cannot_be_reached_is_unavailable",
}
"""Of the suite what runs over the stand-in of Serverless each time; all of it takes minutes, because each look waits
until writes show: ``DYNAVIEW_TEST_SERVERLESS=all``."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("DYNAVIEW_TEST_SERVERLESS") == "all":
        return
    left = [item for item in items if "[opensearch-serverless" in item.name and item.originalname not in OF_SERVERLESS]  # type: ignore[attr-defined]  # functions have one
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


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
