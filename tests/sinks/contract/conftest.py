from __future__ import annotations

from collections.abc import Iterator

import pytest

from dynaview.sinks.port import Target
from tests.sinks.contract.generations import Generations
from tests.sinks.contract.shop import Shop
from tests.sinks.contract.subjects import SUBJECTS, Subject


@pytest.fixture(params=SUBJECTS, scope="session")
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Every store in turn; a store's server starts when its turn comes."""
    made = SUBJECTS[request.param](request)
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
