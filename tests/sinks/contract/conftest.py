from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sinks.contract.subjects import SUBJECTS, Subject


@pytest.fixture(params=SUBJECTS, scope="session")
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Every store in turn; a store's server starts when its turn comes."""
    made = SUBJECTS[request.param](request)
    yield made
    made.sink.close()
