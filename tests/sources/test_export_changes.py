"""Incremental exports: their changes bring a full export's rows up to their end, and a hole between them is loud."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaview.projections.attributes import Shape
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import At, FieldExpression, ViewDeclaration
from dynaview.projections.projection import ViewType
from dynaview.projections.rows import Field, Layout, OpenSearchOptions, Write
from dynaview.sources.errors import AccessDenied, BadExport, SourceRefused
from dynaview.sources.export import LIMITS, ChangePage, Export, ExportLimits, open_export
from dynaview.sources.port import ExportStatus
from dynaview.sources.table import DynamoTable
from tests.sources.stub import Answer, Stub
from tests.support import exports
from tests.support.exports import TABLE_ARN, TIME, Change, dump, write_changes, write_export, write_lines
from tests.support.scripted import ScriptedTable

ALL = Shape(None)
KEY = {"pk": "p", "sk": "s"}


def opened(location: Path, limits: ExportLimits = LIMITS) -> Export:
    """An export that was found to be of its table."""
    found = open_export(str(location), limits=limits)
    found.check(ScriptedTable().describe())
    return found


def changes(found: Export, segments: int = 1) -> list[Any]:
    pages = [page for segment in range(segments) for page in found.changes(segment, segments, None, ALL)]
    assert [page.broken for page in pages if page.broken] == []
    return [change for page in pages for change in page.changes]


class TestReading:
    def test_what_a_manifest_says(self, tmp_path: Path) -> None:
        found = open_export(str(write_changes(tmp_path, [Change(KEY)], view="NEW_IMAGE")))
        assert (found.kind, found.begin, found.end) == ("incremental", TIME, TIME + 3600)
        assert (found.view_type, found.items) == ("NEW_IMAGE", 1)
        assert [file.name.partition("/data/")[0] for file in found.files] == [".."] * 3

    def test_data_files_beside_or_within(self, tmp_path: Path) -> None:
        folder = write_changes(tmp_path, [Change(KEY)])
        assert len(changes(opened(folder))) == 1
        (tmp_path / "AWSDynamoDB" / "data").rename(folder / "data")
        assert len(changes(opened(folder))) == 1

    def test_two_exports_share_their_folder(self, tmp_path: Path) -> None:
        first = write_changes(tmp_path, [Change(KEY)], export_id="01700000000001-0a1b2c3d")
        second = write_changes(tmp_path, [Change(KEY), Change(KEY | {"pk": "q"})], export_id="01700000000002-0a1b2c3d")
        assert [len(changes(opened(each))) for each in (first, second)] == [1, 2]

    def test_inserted_updated_and_deleted(self, tmp_path: Path) -> None:
        old, new = KEY | {"total": 1}, KEY | {"total": 2, "tags": frozenset({"a"})}
        lines = [Change(KEY, new), Change(KEY, new, old), Change(KEY, None, old)]
        found = changes(opened(write_changes(tmp_path, lines, files=1)))
        assert [change.event for change in found] == ["INSERT", "MODIFY", "REMOVE"]
        assert [change.body.new for change in found] == [ALL.pack(new), ALL.pack(new), None]
        assert [change.body.old for change in found] == [None, ALL.pack(old), ALL.pack(old)]
        assert [change.body.key for change in found] == [ALL.pack(KEY)] * 3
        assert [change.body.sequence for change in found] == [""] * 3

    def test_without_old_images_an_insert_may_be_an_update(self, tmp_path: Path) -> None:
        lines = [Change(KEY, KEY), Change(KEY, KEY, KEY), Change(KEY, None, KEY)]
        for index, spelling in enumerate(("NEW_IMAGE", "NEW_IMAGES")):
            found = opened(write_changes(tmp_path / str(index), lines, files=1, view=spelling))
            assert found.view_type == "NEW_IMAGE"
            assert [change.event for change in changes(found)] == ["MODIFY", "MODIFY", "REMOVE"]
            assert [change.body.old for change in changes(found)] == [None] * 3

    @pytest.mark.parametrize(
        ("written", "time"),
        [
            ({"N": "1746609560577628"}, 1746609560.577628),
            ("1746609560577628", 1746609560.577628),
            (1746609560577628, 1746609560.577628),
        ],
    )
    def test_times_as_they_are_documented_and_as_they_are_written(
        self, tmp_path: Path, written: Any, time: float
    ) -> None:
        line = {"Metadata": {"WriteTimestampMicros": written}, "Keys": exports.image(KEY)}
        [change] = changes(opened(lines_as_changes(tmp_path, [dump(line)])))
        assert change.body.time == time

    def test_lines_that_cannot_be_read_stand_beside_the_others(self, tmp_path: Path) -> None:
        metadata = {"WriteTimestampMicros": {"N": "1"}}
        good = dump({"Metadata": metadata, "Keys": exports.image(KEY)})
        odd = [
            dump({"Metadata": metadata, "Keys": {"pk": {"S": "secret"}}}),
            dump({"Metadata": {"WriteTimestampMicros": "soon"}, "Keys": exports.image(KEY)}),
            dump({"Metadata": metadata, "Keys": exports.image(KEY), "NewImage": {"x": {"Q": 1}}}),
            dump({"Item": exports.image(KEY)}),
        ]
        [page] = opened(lines_as_changes(tmp_path, [good, *odd, good])).changes(0, 1, None, ALL)
        assert len(page.changes) == 2
        assert [(broken.index, broken.raw) for broken in page.broken] == list(enumerate(odd, 1))
        assert page.broken[0].reason == "the change lacks its key attribute sk"
        assert "secret" not in repr(page.broken)

    def test_every_page_can_be_gone_on_from(self, tmp_path: Path) -> None:
        lines = [Change(KEY | {"pk": f"p{number}"}) for number in range(23)]
        found = opened(write_changes(tmp_path, lines, files=4), ExportLimits(page_items=3))
        for segment in range(2):
            pages = list(found.changes(segment, 2, None, ALL))
            for index, page in enumerate(pages[:-1]):
                again = list(found.changes(segment, 2, page.position, ALL))
                assert keys(again) == keys(pages[index + 1 :])
        assert len(changes(found, 2)) == 23

    def test_an_incremental_export_is_no_scan(self, tmp_path: Path) -> None:
        with pytest.raises(BadExport, match=r"an incremental export: read its changes behind a full one"):
            opened(write_changes(tmp_path, [])).scan(0, 1, None, ALL)

    def test_a_file_cut_short(self, tmp_path: Path) -> None:
        found = opened(write_changes(tmp_path, [Change(KEY)], files=1))
        [file] = (tmp_path / "AWSDynamoDB" / "data").iterdir()
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(BadExport, match="cut short"):
            list(found.changes(0, 1, None, ALL))


def keys(pages: list[ChangePage[Any]]) -> list[str | None]:
    return [change.body.key["pk"].S for page in pages for change in page.changes]


def lines_as_changes(root: Path, lines: list[bytes]) -> Path:
    """An incremental export of lines as they are."""
    said = {"exportFromTime": "2023-11-14T22:13:20Z", "exportToTime": "2023-11-14T23:13:20Z"}
    view = {"outputView": "NEW_AND_OLD_IMAGES", "exportType": "INCREMENTAL_EXPORT"}
    return write_lines(root, lines, files=1, shared=True, **said, **view)


class TestChains:
    def test_one_goes_on_where_another_ends(self, tmp_path: Path) -> None:
        full = open_export(str(write_export(tmp_path / "full", [])))
        first = open_export(str(write_changes(tmp_path / "1", [])))
        second = open_export(str(write_changes(tmp_path / "2", [], begin=TIME + 3600, end=TIME + 7200)))
        first.follows(full)
        second.follows(first)
        with pytest.raises(BadExport, match=r'begins 3600 s after the end of .*"ExportFromTime": 1700000000'):
            second.follows(full)
        with pytest.raises(BadExport, match="begins 7200 s before the end"):
            first.follows(second)
        with pytest.raises(BadExport, match=r"is a full export.*INCREMENTAL_EXPORT"):
            full.follows(first)

    @pytest.mark.parametrize(("moment", "right"), [(0.999, True), (1.0, False), (-0.001, False)])
    def test_times_are_taken_by_the_second(self, tmp_path: Path, moment: float, right: bool) -> None:
        full = open_export(str(write_export(tmp_path / "full", [], time=TIME + moment)))
        following = open_export(str(write_changes(tmp_path / "1", [], begin=TIME)))
        if right:
            following.follows(full)
        else:
            with pytest.raises(BadExport, match=r"begins . s"):
                following.follows(full)

    def test_another_table(self, tmp_path: Path) -> None:
        full = open_export(str(write_export(tmp_path / "full", [])))
        others: list[dict[str, Any]] = [{"tableArn": f"{TABLE_ARN}2"}, {"tableId": "table-1"}]
        for index, other in enumerate(others):
            following = open_export(str(write_changes(tmp_path / str(index), [], **other)))
            with pytest.raises(BadExport, match="of another table than"):
                following.follows(full)


class TestConfirming:
    def test_what_aws_says(self, tmp_path: Path) -> None:
        found = open_export(str(write_export(tmp_path, [])))
        arn = f"{TABLE_ARN}/export/{exports.EXPORT_ID}"
        table = ScriptedTable()
        assert not found.confirm(table)
        table.exports[arn] = ExportStatus("COMPLETED", False)
        assert found.confirm(table)
        table.exports[arn] = ExportStatus("COMPLETED", True)
        with pytest.raises(BadExport, match="was filtered"):
            found.confirm(table)
        for status in ("IN_PROGRESS", "FAILED"):
            table.exports[arn] = ExportStatus(status, False)
            with pytest.raises(BadExport, match=f"AWS says that the export is {status}"):
                found.confirm(table)

    def test_an_export_that_does_not_know_itself(self, tmp_path: Path) -> None:
        table = ScriptedTable()
        assert not open_export(str(write_export(tmp_path, [], exportArn=None))).confirm(table)
        assert table.counts() == {}

    @pytest.mark.parametrize(
        ("described", "filtered"),
        [
            ({}, False),
            ({"FilterSpecification": None}, False),
            ({"FilterSpecification": {"ProjectionExpression": "pk"}}, True),
        ],
    )
    def test_asking(self, stub: Stub, table: DynamoTable, described: dict[str, Any], filtered: bool) -> None:
        stub.say(Answer.of({"ExportDescription": {"ExportStatus": "COMPLETED", "ItemCount": 7} | described}))
        assert table.exported("arn:x") == ExportStatus("COMPLETED", filtered)
        assert (stub.asked[0].operation, stub.asked[0].parameters) == ("DescribeExport", {"ExportArn": "arn:x"})

    def test_an_export_that_aws_has_forgotten(self, stub: Stub, table: DynamoTable) -> None:
        stub.say(Answer.error("ExportNotFoundException"))
        assert table.exported("arn:x") is None
        stub.say(Answer.error("ValidationException"))
        with pytest.raises(SourceRefused):
            table.exported("arn:x")
        stub.say(Answer.error("AccessDeniedException"))
        with pytest.raises(AccessDenied) as denied:
            table.exported("arn:aws:dynamodb:eu-west-1:1:table/shop/export/0")
        assert (denied.value.action, denied.value.resource) == (
            "dynamodb:DescribeExport",
            "arn:aws:dynamodb:eu-west-1:1:table/shop/export/0",
        )

    def test_a_server_without_exports(self, make_table: Callable[..., DynamoTable]) -> None:
        assert make_table(None).exported(f"{TABLE_ARN}/export/{exports.EXPORT_ID}") is None


def view(key: str) -> ViewDeclaration:
    """A view of orders that are not hidden, whose rows lie under `key`."""
    at = At("views.v", "dynaview.yaml", 1)
    return ViewDeclaration(
        name="v",
        source="s",
        sink="k",
        match=({"pk": "A{a}"},),
        where="!hidden",
        each=None,
        function=None,
        function_name="",
        key=key,
        member=None,
        score=None,
        expire=None,
        fields={"total": FieldExpression("total", "any", None, None, False, at)},
        layout=Layout("v", (), (Field("total"),), OpenSearchOptions("i", {}, {})),
        on_gap="stop",
        at=at,
        places={},
    )


ROWS = st.builds(
    lambda name, hidden, total: {"name": name, "hidden": hidden, "total": total},
    st.sampled_from(["x", "y", "z"]),
    st.booleans(),
    st.integers(0, 3),
)
STATES = st.fixed_dictionaries({pk: st.none() | ROWS | ROWS for pk in ("A1", "A2", "A3", "B1")}).map(
    lambda rows: {pk: row for pk, row in rows.items() if row is not None}
)


def compacted(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What an incremental export tells of a table that was so, and is so now."""
    found = []
    for pk in sorted({*before, *after}):
        key = {"pk": pk, "sk": "s"}
        old, new = (None if pk not in state else key | state[pk] for state in (before, after))
        if old != new:
            found.append(Change(key, new, old))
    return found


@settings(max_examples=100)
@given(
    st.lists(STATES, min_size=2, max_size=4),
    # A row key that changes with the item takes old images to delete by.
    st.sampled_from([("{pk}:{name}", "NEW_AND_OLD_IMAGES"), ("{pk}", "NEW_AND_OLD_IMAGES"), ("{pk}", "NEW_IMAGE")]),
    st.integers(1, 3),
)
def test_a_full_export_and_its_followers_are_the_table_at_their_end(
    states: list[dict[str, Any]], declared: tuple[str, ViewType], files: int
) -> None:
    key, images = declared
    projection = compile_view(view(key))
    shape = Shape({*(projection.attributes or ()), "pk", "sk"})
    rows: dict[Any, Any] = {}

    def apply(writes: list[Write]) -> None:
        for write in writes:
            if write.values is None:
                rows.pop(write.key, None)
            else:
                rows[write.key] = write.values

    with tempfile.TemporaryDirectory() as folder:
        items = [{"pk": pk, "sk": "s"} | rest for pk, rest in states[0].items()]
        before = opened(write_export(Path(folder, "full"), items, files=files))
        bound = projection.bind(shape, ("pk", "sk"), images)
        for page in before.scan(0, 1, None, shape):
            for image in page.images:
                apply(bound.inserts(image))
        for version, (old, new) in enumerate(pairwise(states), 1):
            begin = TIME + 3600 * (version - 1)
            lines = compacted(old, new)
            root = Path(folder, str(version))
            following = opened(write_changes(root, lines, files=files, begin=begin, end=begin + 3600, view=images))
            following.follows(before)
            bound = projection.bind(shape, ("pk", "sk"), following.view_type)
            for found in following.changes(0, 1, None, shape):
                for change in found.changes:
                    apply(bound.writes(change, version))
            before = following
    wanted = [shape.pack({"pk": pk, "sk": "s"} | rest) for pk, rest in states[-1].items()]
    assert rows == {row: values for image in wanted for row, values in bound.rows(image)}
