"""Full exports: what is one, that its scan is the table, and that none which is not whole passes for one."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import tempfile
import tracemalloc
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaview.projections.attributes import Attr, Shape, attribute
from dynaview.sources.errors import BadExport
from dynaview.sources.export import LIMITS, Export, ExportLimits, open_export
from dynaview.sources.filters import scan_filter
from dynaview.sources.port import ScanPage, TableDescription
from dynaview.sources.storage import SUMMARY
from tests.support import exports
from tests.support.exports import TABLE_ARN, TIME, data_file, dump, write_export, write_lines
from tests.support.scripted import ScriptedTable

ALL = Shape(None)


def described() -> TableDescription:
    return ScriptedTable().describe()


def opened(location: Path | str, limits: ExportLimits = LIMITS) -> Export:
    """An export that was found to be of its table."""
    found = open_export(str(location), limits=limits)
    found.check(described())
    return found


def scanned(found: Export, segments: int = 1, shape: Shape = ALL) -> list[Any]:
    """Every item, in the order of the files."""
    pages = [page for segment in range(segments) for page in found.scan(segment, segments, None, shape)]
    assert [page.broken for page in pages if page.broken] == []
    return [image for page in pages for image in page.images]


def numbered(count: int, **rest: Any) -> list[dict[str, Any]]:
    return [{"pk": f"p{number:05}", "sk": "s"} | rest for number in range(count)]


def keys(pages: list[ScanPage[Any]]) -> list[str]:
    return [key["pk"].S or "" for page in pages for key in page.keys]


def summary(folder: Path, **changes: Any) -> None:
    """Change what an export's manifest says; None removes it."""
    file = folder / SUMMARY
    said = json.loads(file.read_bytes()) | changes
    file.write_bytes(dump({name: value for name, value in said.items() if value is not None}))


class TestOpening:
    def test_what_a_manifest_says(self, tmp_path: Path) -> None:
        folder = write_export(tmp_path, numbered(7), files=2)
        found = open_export(str(folder))
        assert (found.kind, found.table, found.table_arn, found.items) == ("full", "shop", TABLE_ARN, 7)
        assert (found.begin, found.end) == (TIME, TIME)
        assert [file.items for file in found.files] == [4, 3]
        assert found.place == str(folder)

    def test_ways_to_name_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = write_export(tmp_path, numbered(1))
        moved = shutil.copytree(folder, tmp_path / "elsewhere")
        for location in (folder, f"{folder}/", folder / SUMMARY, moved):
            assert open_export(str(location)).items == 1
        monkeypatch.chdir(folder)
        assert open_export(SUMMARY).items == open_export(".").items == 1

    def test_what_the_documentation_shows(self, tmp_path: Path) -> None:
        """Its example has no type and no prefix in its keys, and names its data files by an id of their own."""
        folder = write_export(tmp_path, numbered(8), files=1, exportType=None, tableArn=TABLE_ARN)
        [line] = exports.listing(folder)
        name = line["dataFileS3Key"].rpartition("/")[2]
        exports.write_list(folder, [line | {"dataFileS3Key": f"AWSDynamoDB/11111111111111-22222222/data/{name}"}])
        assert len(scanned(opened(folder))) == 8

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"outputFormat": "ION"}, ["Amazon Ion", "--export-format DYNAMODB_JSON"]),
            ({"outputFormat": "CSV"}, ["CSV"]),
            ({"endTime": None}, ["has not completed", "describe-export"]),
            ({"exportTime": None}, ["of which time"]),
            ({"exportType": "INCREMENTAL_EXPORT"}, ["of which time"]),
            ({"exportType": "PARTIAL_EXPORT"}, ["PARTIAL_EXPORT"]),
            ({"tableArn": "arn:aws:s3:::bucket"}, ["names no DynamoDB table"]),
            ({"tableArn": None}, ["no summary of a DynamoDB export", "tableArn"]),
            ({"itemCount": 8}, ["7 items", "has 8", "cut short"]),
            ({"itemCount": "7"}, ["no summary"]),
            ({"exportTime": "yesterday"}, ["no summary"]),
            ({"filterSpecification": {"FilterExpression": "a = :b"}}, ["filtered", "without a filter"]),
        ],
    )
    def test_summaries_that_are_refused(self, tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
        folder = write_export(tmp_path, numbered(7))
        summary(folder, **changes)
        with pytest.raises(BadExport) as refused:
            open_export(str(folder))
        for word in [*words, str(folder)]:
            assert word in str(refused.value)
        assert refused.value.remedy

    def test_a_filter_that_is_none(self, tmp_path: Path) -> None:
        folder = write_export(tmp_path, numbered(7), filterSpecification={})
        assert open_export(str(folder)).items == 7

    def test_no_export_at_all(self, tmp_path: Path) -> None:
        for location in (tmp_path, tmp_path / "nowhere", Path(__file__)):
            with pytest.raises(BadExport, match=f"no DynamoDB export right here.*holds {SUMMARY}") as refused:
                open_export(str(location))
            assert refused.value.place == str(location)
        (tmp_path / SUMMARY).write_text("not JSON")
        with pytest.raises(BadExport, match="no summary"):
            open_export(str(tmp_path))
        with pytest.raises(BadExport, match="neither a folder nor an S3 URL"):
            open_export("https://bucket/prefix")
        with pytest.raises(BadExport, match="names no bucket"):
            open_export("s3://")

    def test_the_folder_above_names_the_exports_in_it(self, tmp_path: Path) -> None:
        first = write_export(tmp_path, numbered(1))
        second = write_lines(tmp_path, [], export_id="01700000000001-0a1b2c3d")
        for above in (tmp_path, tmp_path / "AWSDynamoDB"):
            with pytest.raises(BadExport) as refused:
                open_export(str(above))
            assert refused.value.remedy == f"name it: {first}, {second}"

    def test_an_export_under_way(self, tmp_path: Path) -> None:
        folder = write_export(tmp_path, numbered(1))
        (folder / SUMMARY).unlink()
        with pytest.raises(BadExport, match=r"has not completed.*COMPLETED"):
            open_export(str(folder))

    def test_a_list_of_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        folder = write_export(tmp_path, numbered(7))
        files = folder / "manifest-files.json"
        whole = files.read_bytes()
        files.write_bytes(whole[:-20])
        with pytest.raises(BadExport, match="no list of data files"):
            open_export(str(folder))
        files.write_bytes(whole[: whole.index(b"\n") + 1])
        with pytest.raises(BadExport, match="lists files of 3 items, but the export has 7"):
            open_export(str(folder))
        listed = exports.listing(write_export(tmp_path / "other", numbered(7)))
        exports.write_list(folder, [*listed[:2], listed[0] | {"itemCount": listed[2]["itemCount"]}])
        with pytest.raises(BadExport, match="the same file twice"):
            open_export(str(folder))
        files.unlink()
        with pytest.raises(BadExport, match=r"manifest-files.json: cannot be read \(No such file"):
            open_export(str(folder))

    def test_missing_data_files_are_named(self, tmp_path: Path) -> None:
        folder = write_export(tmp_path, numbered(7), files=6)
        for index in range(1, 6):
            data_file(folder, index).unlink()
        with pytest.raises(BadExport) as refused:
            open_export(str(folder))
        assert "5 of 6 data files of the export are missing" in refused.value.what
        assert "and 2 more" in refused.value.what
        assert refused.value.remedy == f"copy them to {folder / 'data'}"
        shutil.rmtree(folder / "data")
        with pytest.raises(BadExport, match="6 of 6 data files"):
            open_export(str(folder))

    def test_a_folder_that_may_not_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = write_export(tmp_path, numbered(1))

        def denied(path: Path) -> Any:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "iterdir", denied)
        with pytest.raises(BadExport, match=r"cannot be read \(Permission denied\)"):
            open_export(str(folder))

    def test_it_names_nothing_of_items(self, tmp_path: Path) -> None:
        found = opened(write_export(tmp_path, numbered(3, secret="hunter2")))
        assert repr(found) == f"Export('{found.place}', full, table='shop', items=3)"


class TestChecking:
    def test_an_export_of_another_table(self, tmp_path: Path) -> None:
        other = TABLE_ARN.replace("table/shop", "table/other")
        found = open_export(str(write_export(tmp_path, [], tableArn=other)))
        with pytest.raises(BadExport, match=f"is an export of {other}, not of {TABLE_ARN}"):
            found.check(described())

    def test_a_table_that_was_made_anew(self, tmp_path: Path) -> None:
        found = open_export(str(write_export(tmp_path, [])))
        table = ScriptedTable()
        found.check(table.describe())
        table.recreate()
        with pytest.raises(BadExport, match="an earlier table shop"):
            found.check(table.describe())

    def test_an_id_that_is_not_known_proves_nothing(self, tmp_path: Path) -> None:
        open_export(str(write_export(tmp_path, [], tableId=None))).check(described())

    def test_nothing_is_read_unchecked(self, tmp_path: Path) -> None:
        found = open_export(str(write_export(tmp_path, [])))
        with pytest.raises(ValueError, match="check the export"):
            found.scan(0, 1, None, ALL)

    def test_a_shape_without_the_key(self, tmp_path: Path) -> None:
        found = opened(write_export(tmp_path, []))
        with pytest.raises(ValueError, match="sk missing"):
            found.scan(0, 1, None, Shape(["pk"]))

    def test_segments_and_positions_that_are_none(self, tmp_path: Path) -> None:
        found = opened(write_export(tmp_path, numbered(3)))
        with pytest.raises(ValueError, match="no segment 2 of 2"):
            found.scan(2, 2, None, ALL)
        with pytest.raises(ValueError, match="not a position"):
            found.scan(0, 1, "{", ALL)
        with pytest.raises(BadExport, match=r"no data file other.json.gz.*cancel the rebuild"):
            found.scan(0, 1, '{"file":"other.json.gz","line":3}', ALL)

    def test_an_export_has_no_changes(self, tmp_path: Path) -> None:
        with pytest.raises(BadExport, match="is a full export: scan it"):
            opened(write_export(tmp_path, [])).changes(0, 1, None, ALL)


NUMBERS = st.builds(
    lambda sign, digits, exponent: Decimal((sign, tuple(map(int, str(digits))), exponent)),
    st.integers(0, 1),
    st.integers(0, 10**38 - 1),
    st.integers(-130, 87),
)
SETS = (
    st.frozensets(st.text(), min_size=1, max_size=4)
    | st.frozensets(NUMBERS, min_size=1, max_size=4)
    | st.frozensets(st.binary(), min_size=1, max_size=4)
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.text() | st.binary() | NUMBERS | SETS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name not in ("pk", "sk"))
ITEMS = st.lists(
    st.tuples(st.text(min_size=1), NUMBERS, st.dictionaries(NAMES, VALUES, max_size=4)),
    max_size=12,
    unique_by=lambda item: (item[0], item[1]),
).map(lambda found: [{"pk": pk, "sk": sk} | rest for pk, sk, rest in found])


def kinds(image: Mapping[str, Attr]) -> dict[str, list[str]]:
    """The DynamoDB types of an image's attributes: a set and a list are the same in Python."""
    return {
        name: [kind for kind in Attr.__struct_fields__ if getattr(attr, kind) is not None]
        for name, attr in image.items()
    }


class TestScanning:
    @settings(max_examples=150)
    @given(ITEMS, st.integers(1, 5), st.integers(1, 4))
    def test_an_export_is_the_table(self, items: list[dict[str, Any]], files: int, segments: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            found = opened(write_export(Path(folder), items, files=files))
            images = scanned(found, segments)
        wanted = {(item["pk"], item["sk"]): ALL.pack(item) for item in items}
        assert len(images) == len(items)
        for image in images:
            plain = ALL.unpack(image)
            expected = wanted[plain["pk"], plain["sk"]]
            assert plain == ALL.unpack(expected)
            assert kinds(image) == kinds(expected)

    @settings(max_examples=60)
    @given(st.integers(0, 40), st.integers(1, 6), st.integers(1, 4), st.integers(1, 7))
    def test_every_page_can_be_gone_on_from(self, count: int, files: int, segments: int, page_items: int) -> None:
        limits = ExportLimits(page_items=page_items)
        with tempfile.TemporaryDirectory() as folder:
            found = opened(write_export(Path(folder), numbered(count), files=files), limits)
            everything = []
            for segment in range(segments):
                pages = list(found.scan(segment, segments, None, ALL))
                assert [page.position is None for page in pages] == [False] * (len(pages) - 1) + [True]
                assert all(len(page.images) <= page_items for page in pages)
                for index, page in enumerate(pages[:-1]):
                    again = list(opened(found.place, limits).scan(segment, segments, page.position, ALL))
                    assert keys(again) == keys(pages[index + 1 :])
                everything += keys(pages)
        assert sorted(everything) == [item["pk"] for item in numbered(count)]

    def test_pages_are_neither_many_items_nor_long(self, tmp_path: Path) -> None:
        short = opened(write_export(tmp_path / "short", numbered(2500), files=1))
        assert [len(page.images) for page in short.scan(0, 1, None, ALL)] == [1000, 1000, 500]
        long = opened(write_export(tmp_path / "long", numbered(7, text="x" * 400_000), files=1))
        assert [len(page.images) for page in long.scan(0, 1, None, ALL)] == [2, 2, 2, 1]

    def test_a_scan_costs_nothing(self, tmp_path: Path) -> None:
        assert [page.consumed for page in opened(write_export(tmp_path, numbered(3))).scan(0, 1, None, ALL)] == [
            0.0
        ] * 3

    def test_nothing_at_all(self, tmp_path: Path) -> None:
        for name, files in (("no", 0), ("empty", 3)):
            found = opened(write_export(tmp_path / name, [], files=files))
            for segment in range(5):
                [page] = found.scan(segment, 5, None, ALL)
                assert (page.images, page.position) == ([], None)

    def test_empty_partitions_have_empty_files(self, tmp_path: Path) -> None:
        folder = write_export(tmp_path, numbered(1), files=4)
        listed = exports.listing(folder)
        data_file(folder, 1).write_bytes(b"")
        listed[1] = exports.file_line(listed[1]["dataFileS3Key"], 0, b"")
        exports.write_list(folder, listed)
        assert len(scanned(opened(folder))) == 1

    def test_only_what_a_shape_names_is_decoded(self, tmp_path: Path) -> None:
        shape = Shape(["pk", "sk", "total", "absent"])
        [image] = scanned(opened(write_export(tmp_path, numbered(1, total=Decimal("1.50"), more="x"))), shape=shape)
        assert shape.unpack(image) == {"pk": "p00000", "sk": "s", "total": Decimal("1.50")}

    def test_only_what_a_filter_asks_for(self, tmp_path: Path) -> None:
        items = [*numbered(5, kind="A"), {"pk": "q", "sk": "s", "kind": "A"}]
        found = opened(write_export(tmp_path, items))
        only = scan_filter([({"pk": "p{rest}", "kind": "A"},)])
        assert len(keys(list(found.scan(0, 1, None, ALL, only)))) == 5
        assert len(keys(list(found.scan(0, 1, None, ALL, scan_filter([({"kind": "B"},)]))))) == 0
        keys_only = Shape(["pk", "sk"])  # which cannot tell the kind
        assert len(keys(list(found.scan(0, 1, None, keys_only, only)))) == 5
        assert len(keys(list(found.scan(0, 1, None, keys_only, scan_filter([({"kind": "B"},)]))))) == 6

    def test_lines_that_cannot_be_read_stand_beside_the_others(self, tmp_path: Path) -> None:
        good, also = (dump({"Item": exports.image(item)}) for item in numbered(2))
        odd = [
            dump({"Item": {"pk": {"S": "a"}, "sk": {"S": "b"}, "x": {"Q": 1}}}),
            dump({"Item": {"pk": {"S": "secret"}}}),
            dump({"Image": {}}),
            b'{"Item":',
            b"\xff\xfe",
        ]
        found = opened(write_lines(tmp_path, [good, *odd, b"  ", also], files=1, exportTime="2023-11-14T22:13:20Z"))
        [page] = found.scan(0, 1, None, ALL)
        assert keys([page]) == ["p00000", "p00001"]
        assert [broken.index for broken in page.broken] == [1, 2, 3, 4, 5]
        assert page.broken[0].raw == b'{"pk":{"S":"a"},"sk":{"S":"b"},"x":{"Q":1}}'
        assert page.broken[1].reason == "the item lacks its key attribute sk"
        assert [broken.raw for broken in page.broken[2:]] == odd[2:]
        assert "secret" not in "".join(broken.reason for broken in page.broken)


class TestWholeness:
    def test_a_file_cut_anywhere_is_noticed(self, tmp_path: Path) -> None:
        folder = write_export(tmp_path, numbered(20), files=1)
        for listed in (exports.listing(folder), [exports.listing(folder)[0] | {"md5Checksum": None}]):
            exports.write_list(folder, listed)
            found = opened(folder)
            file = data_file(folder)
            whole = file.read_bytes()
            for length in range(len(whole)):
                file.write_bytes(whole[:length])
                with pytest.raises(BadExport, match="copy the file once more") as refused:
                    list(found.scan(0, 1, None, ALL))
                assert refused.value.place == str(file)
            file.write_bytes(whole)
            assert len(scanned(found)) == 20

    def test_a_byte_changed_anywhere_is_noticed(self, tmp_path: Path) -> None:
        folder = write_export(tmp_path, numbered(20), files=1)
        found = opened(folder)
        file = data_file(folder)
        whole = file.read_bytes()
        for at in range(len(whole)):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(BadExport):
                found.verify()
        file.write_bytes(whole)
        found.verify()

    @pytest.mark.parametrize("count", [9, 11])
    def test_fewer_or_more_items_than_the_manifest_says(self, tmp_path: Path, count: int) -> None:
        folder = write_export(tmp_path, numbered(10), files=1)
        other = write_export(tmp_path / "other", numbered(count), files=1)
        [line] = exports.listing(other)
        exports.write_list(folder, [line | {"itemCount": 10}])
        shutil.copy(data_file(other), folder / "data")
        with pytest.raises(BadExport, match=f"holds {count} items, its manifest says 10"):
            list(opened(folder).scan(0, 1, None, ALL))

    def test_files_that_were_mixed_up(self, tmp_path: Path) -> None:
        folder = write_export(tmp_path, numbered(10), files=2)
        first, second = data_file(folder, 0), data_file(folder, 1)
        kept = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(kept)
        with pytest.raises(BadExport, match="does not fit its checksum"):
            list(opened(folder).scan(0, 1, None, ALL))

    def test_what_is_not_compressed(self, tmp_path: Path) -> None:
        folder = write_export(tmp_path, numbered(3), files=1)
        data_file(folder).write_bytes(gzip.decompress(data_file(folder).read_bytes()))
        with pytest.raises(BadExport, match="damaged, or not compressed"):
            opened(folder).verify()

    def test_no_position_is_behind_a_file_that_is_not_whole(self, tmp_path: Path) -> None:
        items = [item | {"text": random.randbytes(30_000).hex()} for item in numbered(30)]  # more than is read at once
        folder = write_export(tmp_path, items, files=3)
        broken = data_file(folder, 1)
        whole = broken.read_bytes()
        broken.write_bytes(whole[:-1])
        found = opened(folder, ExportLimits(page_items=4))
        pages: list[ScanPage[Any]] = []
        with pytest.raises(BadExport, match="cut short"):
            pages.extend(found.scan(0, 1, None, ALL))  # what came before the error stays in the list
        positions = [json.loads(page.position or "") for page in pages[2:]]
        assert [position["file"] for position in positions] == [broken.name] * len(positions)
        assert [position["line"] for position in positions] in ([0, 4], [0, 4, 8])  # of 10
        broken.write_bytes(whole)
        rest = list(found.scan(0, 1, pages[-1].position, ALL))
        assert sorted(keys(pages) + keys(rest)) == [item["pk"] for item in numbered(30)]

    def test_verifying_reads_only_its_segment(self, tmp_path: Path) -> None:
        folder = write_export(tmp_path, numbered(10), files=3)
        data_file(folder, 1).write_bytes(b"")
        found = opened(folder)
        found.verify(0, 3)
        found.verify(2, 3)
        with pytest.raises(BadExport):
            found.verify(1, 3)

    def test_a_file_that_vanishes_while_it_is_read(self, tmp_path: Path) -> None:
        folder = write_export(tmp_path, numbered(10), files=2)
        pages = opened(folder).scan(0, 1, None, ALL)
        next(pages)
        data_file(folder, 1).unlink()
        with pytest.raises(BadExport, match=r"cannot be read \(No such file"):
            next(pages)

    def test_several_compressed_parts_are_one_file(self, tmp_path: Path) -> None:
        folder = write_export(tmp_path, numbered(10), files=1)
        text = gzip.decompress(data_file(folder).read_bytes())
        packed = gzip.compress(text[:333]) + gzip.compress(text[333:])
        data_file(folder).write_bytes(packed)
        [line] = exports.listing(folder)
        exports.write_list(folder, [exports.file_line(line["dataFileS3Key"], 10, packed)])
        assert len(scanned(opened(folder))) == 10

    def test_a_line_without_end_is_no_item(self, tmp_path: Path) -> None:
        items = [*numbered(1), *numbered(1, text="x" * 1000)]
        found = opened(write_export(tmp_path, items, files=1), ExportLimits(line_bytes=1000))
        with pytest.raises(BadExport, match="a line of more than 1000 bytes"):
            found.verify()

    def test_memory_does_not_grow_with_the_file(self, tmp_path: Path) -> None:
        items = [item | {"text": random.randbytes(750)} for item in numbered(12_000)]  # so that 12 MB stay large
        folder = write_export(tmp_path, items, files=1)
        assert data_file(folder).stat().st_size > 8_000_000
        found = opened(folder)
        shape = Shape(["pk", "sk"])
        tracemalloc.start()
        try:
            count = sum(len(page.images) for page in found.scan(0, 1, None, shape))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert count == 12_000
        assert peak < 6_000_000, peak


def test_the_fixtures_write_what_dynamodb_does() -> None:
    """The documentation's own example of an item."""
    item = {
        "Authors": frozenset({"Author1", "Author2"}),
        "Dimensions": "8.5 x 11.0 x 1.5",
        "Id": Decimal(103),
        "InPublication": False,
        "Nested": {"list": [None, b"\x00"]},
    }
    written = exports.image(item)
    assert sorted(written["Authors"]["SS"]) == ["Author1", "Author2"]
    assert written["Id"] == {"N": "103"}
    assert written["InPublication"] == {"BOOL": False}
    assert written["Nested"] == {"M": {"list": {"L": [{"NULL": True}, {"B": "AA=="}]}}}
    assert attribute(item["Dimensions"]) == Attr(**written["Dimensions"])
