"""OpenSearch Serverless: what it lacks is not asked for, what it may lack is found out, and the guard is never lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from opensearchpy import OpenSearch

from dynaview.projections.rows import Layout, OpenSearchOptions, Rule, Write
from dynaview.sinks.opensearch import OpenSearchSink
from dynaview.sinks.opensearch.limits import Limits
from dynaview.sinks.port import APPLIED, STALE, ConditionalWrite, SinkRefused, SinkUnavailable
from tests.sinks.opensearch.line import Answer, Line, opened
from tests.support.serverless import Serverless, options_of
from tests.support.sigv4 import Gate, Key

LIMITS = Limits(shown_pause=0.02, shown_within=10, page_rows=50, looks=40)


@pytest.fixture
def stand_in(opensearch_url: str) -> Serverless:
    return Serverless(opensearch_url)


@pytest.fixture
def collection(opensearch_url: str, stand_in: Serverless) -> Iterator[Line]:
    """A collection that looks at signatures."""
    known = {os.environ["AWS_ACCESS_KEY_ID"]: Key(os.environ["AWS_SECRET_ACCESS_KEY"])}
    gate = Gate("aoss", "eu-west-1", known)
    with opened(opensearch_url) as line:

        def look(method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer | None:
            if gate.refusal(method, path, body, headers) is None:
                return None
            return Answer(403, {"status": 403, "error": {"type": "Forbidden", "reason": "403 Forbidden"}})

        line.gate = look
        line.before = stand_in.answer
        yield line


@pytest.fixture
def sinks(collection: Line) -> Iterator[Callable[..., OpenSearchSink]]:
    made: list[OpenSearchSink] = []

    def new(limits: Limits = LIMITS) -> OpenSearchSink:
        made.append(OpenSearchSink("search", collection.url, options_of(), limits))
        return made[-1]

    yield new
    for sink in made:
        sink.close()


def plain(layout: Layout) -> Layout:
    """A layout that leaves places to the store."""
    assert isinstance(layout.options, OpenSearchOptions)
    return Layout(layout.view, layout.key, layout.fields, OpenSearchOptions(layout.options.index, {}, {}))


def put(key: str, version: int, rule: Rule = Rule.NEWER) -> Write:
    return Write(key, (f"name {version}", None, version), version, "", rule)


def test_a_view_lives_without_what_serverless_does_not_have(
    sinks: Callable[..., OpenSearchSink],
    stand_in: Serverless,
    layout: Callable[..., Layout],
    store: OpenSearch,
) -> None:
    sink = sinks()
    made = plain(layout())
    assert sink.check() == "OpenSearch Serverless"
    assert (sink.dangers(), sink.problems(made), sink.highest(made), sink.published(made)) == ([], [], 0, None)
    first = sink.open(made, 1)
    assert first.gone()
    first.prepare(bulk=True)
    keys = [f"row-{n}" for n in range(175)]
    assert first.write([put(key, 5) for key in keys]) == [APPLIED] * 175
    assert first.write([put(keys[0], 4), put(keys[1], 6), Write(keys[2], None, 7)]) == [STALE, APPLIED, APPLIED]
    other = sinks().open(made, 1)  # which remembers nothing
    assert other.write([put(keys[0], 5), put(keys[1], 7), put(keys[2], 6), put("new", 1, Rule.ABSENT)]) == [
        STALE, APPLIED, STALE, APPLIED,
    ]  # fmt: skip
    assert [row and row.version for row in other.read([keys[0], keys[1], keys[2], "none"])] == [5, 7, 7, None]
    assert {row.key for row in first.rows()} == {*keys, "new"} - {keys[2]}
    assert sum(len(page.keys) for page in first.canonical_rows()) == first.count() == 175
    assert first.finish() == []
    first.publish()
    assert (sink.published(made), sink.highest(made), sink.room(made, 1)) == (1, 1, None)
    second = sink.open(made, 2)
    second.prepare(bulk=True)
    second.write([put("row-1", 9)])
    second.finish()
    second.publish()
    assert sink.published(made) == 2
    assert isinstance(made.options, OpenSearchOptions)
    found = store.search(index=made.options.index, body={"query": {"match_all": {}}})
    assert [hit["_id"] for hit in found["hits"]["hits"]] == ["row-1"]
    first.drop()
    assert sink.problems(made) == []
    assert stand_in.refusals == []


def test_tombstones_are_purged_one_by_one_and_only_as_they_were_seen(
    sinks: Callable[..., OpenSearchSink], collection: Line, stand_in: Serverless, layout: Callable[..., Layout]
) -> None:
    target = sinks().open(plain(layout()), 1)
    target.prepare()
    keys = [f"row-{n}" for n in range(120)]
    target.write([put(key, 1) for key in keys])
    target.write([Write(key, None, 2) for key in keys[:100]])
    assert target.purge(timedelta(hours=25)) == 0
    target.show()
    revived = sinks().open(target.layout, 1)
    looks: list[bytes] = []

    def between(method: str, path: str, body: bytes) -> Answer:
        # Between the listing and the removal a tombstone is dated anew, and another is taken over.
        if b'"update"' in body and b'"row-' in body and not looks:
            looks.append(body)
            assert revived.write([Write("row-0", None, 9), put("row-1", 9)]) == [APPLIED, APPLIED]
        return stand_in.answer(method, path, body)

    collection.before = between
    removed = target.purge(timedelta(0))
    assert looks
    assert 98 <= removed <= 98 + 3 * 128  # with the markers that were under way
    assert [row and row.version for row in target.read(["row-0", "row-1", "row-2", "row-110"])] == [9, 9, None, 1]
    assert target.count() == 21


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("ids", "time series or vector search. A view needs a collection of type SEARCH"),
        ("create", "create replaces a document that stands"),
        ("if_seq_no", "if_seq_no of another write lets a write through"),
        ("numbers", "answers to writes lack _seq_no"),
        ("updates", "a look does not show the write just before it"),
        ("require_alias", "require_alias is not honoured"),
        ("filters", "an alias loses its filter"),
    ],
)
def test_a_guard_that_cannot_hold_is_refused_before_the_first_row(
    broken: str,
    said: str,
    sinks: Callable[..., OpenSearchSink],
    stand_in: Serverless,
    layout: Callable[..., Layout],
    store: OpenSearch,
) -> None:
    made = plain(layout())
    target = sinks().open(made, 1)
    stand_in.broken = {broken}
    with pytest.raises(SinkRefused, match=said):
        target.prepare()
    with pytest.raises(SinkRefused, match=said):
        target.write([put("a", 1)])
    with pytest.raises(SinkRefused, match=said):
        target.purge(timedelta(hours=25))
    with pytest.raises(SinkRefused, match=said):
        target.write_if_unchanged([ConditionalWrite(put("a", 1), None)])
    stand_in.broken = ()
    store.indices.refresh(index=f"{target.layout.view}-g1")
    assert store.count(index=f"{target.layout.view}-g1")["count"] == 0


def test_a_missing_right_names_what_to_grant(
    sinks: Callable[..., OpenSearchSink], collection: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    collection.gate = lambda *_: Answer(403, {"status": 403, "error": {"type": "Forbidden", "reason": "403 Forbidden"}})
    with pytest.raises(SinkRefused, match=r"\(Forbidden\): allow aoss:APIAccessAll .* data access policy"):
        sinks().check()


def test_what_places_an_index_is_refused_by_name(layout: Callable[..., Layout]) -> None:
    sink = OpenSearchSink("search", "https://x7.eu-west-1.aoss.amazonaws.com", {"auth": "aws"})
    made = layout(settings={"index.refresh_interval": "1s", "analysis": {}})
    with pytest.raises(
        ValueError,
        match=r"has no settings index\.refresh_interval, number_of_replicas, number_of_shards: .* leave them out",
    ):
        sink.open(made, 1)
    sink.open(plain(made), 1)
    sink.close()


def test_what_never_shows_is_said(
    sinks: Callable[..., OpenSearchSink], opensearch_url: str, stand_in: Serverless, layout: Callable[..., Layout]
) -> None:
    stand_in.settings["refresh_interval"] = "-1"
    target = sinks(Limits(shown_pause=0.02, shown_within=0.2)).open(plain(layout()), 1)
    target.prepare()
    target.write([put("a", 1)])
    with pytest.raises(SinkUnavailable, match=r"has not shown for 0\.2 s what was written"):
        target.show()
    assert [row and row.version for row in target.read(["a"])] == [1]


def test_what_shows_is_all_that_was_written(
    sinks: Callable[..., OpenSearchSink], stand_in: Serverless, layout: Callable[..., Layout]
) -> None:
    """On five shards of pages as short as there are shards, so that pages end within one sequence number."""
    stand_in.settings["number_of_shards"] = 5
    target = sinks(Limits(shown_pause=0.02, shown_within=10, page_rows=3)).open(plain(layout()), 1)
    target.prepare()
    for turn in range(2):
        keys = [f"row-{turn}-{n}" for n in range(14)]
        target.write([put(key, 1) for key in keys])
        assert len([row.key for row in target.rows()]) == len({row.key for row in target.rows()}) == 14 * (turn + 1)


def test_the_markers_leave_nothing(
    sinks: Callable[..., OpenSearchSink], layout: Callable[..., Layout], store: OpenSearch
) -> None:
    target = sinks().open(plain(layout()), 1)
    target.prepare()
    target.write([put("a", 1)])
    target.show()
    index = f"{target.layout.view}-g1"
    store.indices.refresh(index=index)
    assert store.count(index=index)["count"] == 1
