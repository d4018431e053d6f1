"""Which Java is complete enough for all of OpenSearch's modules."""

from __future__ import annotations

import pytest

from dynaview.local import java


@pytest.mark.parametrize(
    ("modules", "complete"),
    [
        ("java.base@21.0.4\njdk.localedata@21.0.4\n", True),
        ("java.base@25\njava.sql@25\njdk.localedata@25\n", True),
        ("java.base@17.0.15\njdk.localedata@17.0.15\n", False),
        ("java.base@25\njava.sql@25\n", False),
        ("", False),
    ],
)
def test_complete_is_new_enough_and_has_locale_data(modules: str, complete: bool) -> None:
    assert java.is_complete(modules) is complete


def test_some_java_is_always_found() -> None:
    assert java.find().program.is_file()
