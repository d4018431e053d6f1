"""What travels between boto3 and AWS: checksums, lengths, cuts and resets, and every error code as its own type."""

from __future__ import annotations

import gzip
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from dynaview.projections.attributes import Attr, Shape
from dynaview.sources.errors import (
    AccessDenied,
    BadPage,
    CredentialsMissing,
    IteratorExpired,
    SourceError,
    SourceRefused,
    SourceUnavailable,
    StreamGone,
    TableMissing,
    Throttled,
    Trimmed,
)
from dynaview.sources.session import Session
from dynaview.sources.stream import DynamoStream
from dynaview.sources.table import DynamoTable
from tests.sources.bodies import ARN, packed, page, record, shard, stream
from tests.sources.bodies import table as described
from tests.sources.stub import Answer, Stub

ALL = Shape(None)
PAGE = page(record(1), record(2))
SCAN = {"Items": [{"pk": {"S": "p1"}, "sk": {"S": "s1"}}], "Count": 1}


def scan(table: DynamoTable) -> Any:
    return next(table.scan(0, 1, None, ALL))


class TestWholeAnswers:
    def test_a_page(self, stub: Stub, reader: DynamoStream) -> None:
        stub.say(Answer.of(PAGE))
        assert len(reader.read("it").changes) == 2
        [asked] = stub.asked
        assert (asked.operation, asked.parameters) == ("GetRecords", {"ShardIterator": "it", "Limit": 1000})
        assert "dynaview/" in asked.agent

    def test_an_answer_without_a_checksum(self, stub: Stub, reader: DynamoStream) -> None:
        stub.say(Answer.of(PAGE, checksum=False))
        assert len(reader.read("it").changes) == 2

    def test_a_compressed_answer(self, stub: Stub, reader: DynamoStream) -> None:
        stub.say(Answer(gzip.compress(packed(PAGE)), headers={"Content-Encoding": "gzip"}))
        assert len(reader.read("it").changes) == 2

    @pytest.mark.parametrize(
        "answer",
        [
            Answer.of(PAGE, headers={"x-amz-crc32": "1"}),
            Answer.of(PAGE, headers={"x-amz-crc32": "none"}),
            Answer.of(PAGE, checksum=False, cut=50),
            Answer.of(PAGE, checksum=False, cut=0),
            Answer(packed(PAGE)[:-20]),
            Answer(packed(PAGE)[:-20], checksum=False),
            Answer(b""),
            Answer(b"{}"),
            Answer(b"<html>a proxy's page</html>", headers={"Content-Type": "text/html"}),
            Answer(packed(PAGE), headers={"Content-Encoding": "gzip"}),
        ],
    )
    def test_a_broken_page_is_asked_for_again(self, stub: Stub, reader: DynamoStream, answer: Answer) -> None:
        stub.say(answer, Answer.of(PAGE))
        with pytest.raises(BadPage):
            reader.read("it")
        assert len(reader.read("it").changes) == 2

    @pytest.mark.parametrize(
        "answer",
        [
            Answer.of(SCAN, headers={"x-amz-crc32": "1"}),
            Answer.of(SCAN, cut=20),
            Answer(packed(SCAN)[:-2]),
            Answer(b"{}"),
        ],
    )
    def test_a_broken_scan_page(self, stub: Stub, table: DynamoTable, answer: Answer) -> None:
        stub.say(Answer.of(described()), answer)
        with pytest.raises(BadPage):
            scan(table)

    @pytest.mark.parametrize("body", [b"{}", packed(stream(shard("0")))[:-10], b'{"StreamDescription":{}}'])
    def test_a_broken_listing_is_not_an_empty_one(self, stub: Stub, reader: DynamoStream, body: bytes) -> None:
        stub.say(Answer(body))
        with pytest.raises(BadPage):
            reader.shards()
        with pytest.raises(BadPage):
            reader.children("0")

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(packed({"__type": "x#TrimmedDataAccessException", "message": "m"})[:-20], status=400),
            Answer(packed({"__type": "x#TrimmedDataAccessException"}), 400, headers={"x-amz-crc32": "1"}),
            Answer(b"", status=400, checksum=False),
            Answer(b'{"message":"m"}', status=400),
            Answer(b"<html>a proxy's page</html>", 403, headers={"Content-Type": "text/html"}),
        ],
    )
    def test_a_broken_error_is_no_refusal(self, stub: Stub, reader: DynamoStream, answer: Answer) -> None:
        stub.say(answer, Answer.of(PAGE))
        with pytest.raises(BadPage, match="status 40"):
            reader.read("it")
        assert len(reader.read("it").changes) == 2

    def test_a_broken_iterator(self, stub: Stub, reader: DynamoStream) -> None:
        stub.say(Answer(b"{}"))
        with pytest.raises(BadPage):
            reader.open("0", None)

    @pytest.mark.parametrize("cut", [0, 50])
    def test_a_connection_reset_in_the_middle_of_a_body(self, stub: Stub, reader: DynamoStream, cut: int) -> None:
        stub.say(Answer.of(PAGE, cut=cut, end="reset"))
        with pytest.raises(SourceUnavailable):
            reader.read("it")

    def test_nobody_listens(self) -> None:
        session = Session("eu-west-1", "http://127.0.0.1:9", attempts=1, connect=0.5)
        with pytest.raises(SourceUnavailable, match="GetRecords"):
            DynamoStream(session, ARN, ALL).read("it")

    def test_botocore_asks_once_more_by_itself(self, stub: Stub) -> None:
        session = Session("eu-west-1", stub.url)
        stub.say(Answer.error("InternalServerError", 500), Answer.of(PAGE))
        assert len(DynamoStream(session, ARN, ALL).read("it").changes) == 2
        session.close()

    def test_one_client_serves_many_shapes_and_threads(self, stub: Stub, session: Session) -> None:
        stub.say(Answer.of(PAGE))
        shapes = [Shape(None), Shape(["pk"]), Shape(["total"]), Shape(["pk", "total"])]
        found: list[tuple[Shape, set[str]]] = []

        def read(shape: Shape) -> None:
            for _ in range(20):
                changes = DynamoStream(session, ARN, shape).read("it").changes
                found.extend((shape, set(shape.unpack(change.body.new))) for change in changes)

        threads = [threading.Thread(target=read, args=(shape,)) for shape in shapes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4 * 20 * 2
        assert all(names == set(shape.names or ("pk", "total")) for shape, names in found)


CODES: list[tuple[str, int, type[SourceError]]] = [
    ("ExpiredIteratorException", 400, IteratorExpired),
    ("TrimmedDataAccessException", 400, Trimmed),
    ("ResourceNotFoundException", 400, StreamGone),
    ("LimitExceededException", 400, Throttled),
    ("ProvisionedThroughputExceededException", 400, Throttled),
    ("ThrottlingException", 400, Throttled),
    ("RequestLimitExceeded", 400, Throttled),
    ("SomethingNew", 429, Throttled),
    ("InternalServerError", 500, SourceUnavailable),
    ("ServiceUnavailable", 503, SourceUnavailable),
    ("SomethingNew", 502, SourceUnavailable),
    ("AccessDeniedException", 400, AccessDenied),
    ("UnrecognizedClientException", 400, CredentialsMissing),
    ("ExpiredTokenException", 400, CredentialsMissing),
    ("MissingAuthenticationTokenException", 403, CredentialsMissing),
    ("InvalidSignatureException", 403, CredentialsMissing),
    ("ValidationException", 400, SourceRefused),
    ("SomethingNew", 400, SourceRefused),
]


class TestErrors:
    @pytest.mark.parametrize(("code", "status", "kind"), CODES)
    def test_each_code_is_one_type(
        self, stub: Stub, reader: DynamoStream, code: str, status: int, kind: type[SourceError]
    ) -> None:
        stub.say(Answer.error(code, status))
        for call in (lambda: reader.read("it"), lambda: reader.open("0", "1"), reader.shards):
            with pytest.raises(SourceError) as raised:
                call()
            assert type(raised.value) is kind
            assert code in str(raised.value)
            assert ARN in str(raised.value)
            assert raised.value.remedy

    def test_a_server_error_without_a_body(self, stub: Stub, reader: DynamoStream) -> None:
        stub.say(Answer(b"", status=503))
        with pytest.raises(SourceUnavailable, match="503"):
            reader.read("it")

    def test_a_table_that_does_not_exist(self, stub: Stub, table: DynamoTable) -> None:
        stub.say(Answer.error("ResourceNotFoundException"))
        with pytest.raises(TableMissing, match="shop"):
            table.describe()

    def test_each_missing_right_names_its_action(self, stub: Stub, table: DynamoTable, reader: DynamoStream) -> None:
        denied = Answer.error("AccessDeniedException", message="User: x is not authorized")
        off = Answer.of(described(None))
        on = Answer.of(described())
        key = {"pk": Attr(S="p"), "sk": Attr(S="s")}
        tries: list[tuple[list[Answer], Callable[[], Any], str]] = [
            ([denied], lambda: reader.read("it"), "dynamodb:GetRecords"),
            ([denied], lambda: reader.open("0", None), "dynamodb:GetShardIterator"),
            ([denied], reader.shards, "dynamodb:DescribeStream"),
            ([denied], table.describe, "dynamodb:DescribeTable"),
            ([off, denied], lambda: table.enable_stream("NEW_IMAGE"), "dynamodb:UpdateTable"),
            ([on, denied], lambda: scan(table), "dynamodb:Scan"),
            ([denied], lambda: table.get([key], ALL), "dynamodb:BatchGetItem"),
        ]
        on_stream = [call for _, call, _ in tries[:3]]
        for answers, call, action in tries:
            stub.say(*answers)
            with pytest.raises(AccessDenied, match=f"grant {action} on") as raised:
                call()
            assert raised.value.action == action
            assert raised.value.resource.endswith("table/shop/stream/*" if call in on_stream else "table/shop")

    def test_no_credentials(self, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with pytest.raises(CredentialsMissing, match="AWS_PROFILE"):
            DynamoStream(Session("eu-west-1", stub.url), ARN, ALL).read("it")

    def test_no_such_profile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        with pytest.raises(CredentialsMissing, match="nobody"):
            Session("eu-west-1")

    def test_no_region(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(SourceRefused, match="region"):
            Session(None)

    def test_no_message_shows_a_secret(self, stub: Stub) -> None:
        base = boto3.Session(
            aws_access_key_id="AKIAVISIBLE", aws_secret_access_key="hunter22", aws_session_token="tok-en"
        )
        session = Session("eu-west-1", stub.url, attempts=1, session=base)
        reader = DynamoStream(session, ARN, ALL)
        answers = [Answer.error(code, status) for code, status, _ in CODES] + [Answer.of(PAGE, cut=5, end="reset")]
        answers.append(Answer.error("SignatureDoesNotMatch", message="The Canonical String was hunter22"))
        for answer in answers:
            stub.say(answer)
            with pytest.raises(SourceError) as raised:
                reader.read("it")
            shown = str(raised.value) + repr(raised.value)
            assert not [secret for secret in ("hunter22", "tok-en", "AKIAVISIBLE") if secret in shown]
        session.close()


class TestListings:
    def test_every_page_is_listed(self, stub: Stub, reader: DynamoStream) -> None:
        stub.say(
            Answer.of(stream(shard("0", last="9"), shard("1", "0"), last="1")),
            Answer.of(stream(shard("2", "1"), last="2")),
            Answer.of(stream(shard("3", "2"))),
        )
        found = reader.shards()
        assert [(each.id, each.parent, each.first, each.last) for each in found] == [
            ("0", None, "1", "9"),
            ("1", "0", "1", None),
            ("2", "1", "1", None),
            ("3", "2", "1", None),
        ]
        assert [asked.parameters.get("ExclusiveStartShardId") for asked in stub.asked] == [None, "1", "2"]
        assert len(reader.shards()) == 1  # begun anew

    def test_a_throttled_listing_goes_on_where_it_stopped(self, stub: Stub, reader: DynamoStream) -> None:
        stub.say(Answer.of(stream(shard("0"), last="0")), Answer.error("LimitExceededException"))
        with pytest.raises(Throttled):
            reader.shards()
        stub.say(Answer.of(stream(shard("1"))))
        assert [each.id for each in reader.shards()] == ["0", "1"]
        assert stub.asked[-1].parameters["ExclusiveStartShardId"] == "0"

    def test_a_listing_that_was_refused_begins_anew(self, stub: Stub, reader: DynamoStream) -> None:
        stub.say(Answer.of(stream(shard("0"), last="0")), Answer.error("ResourceNotFoundException"))
        with pytest.raises(StreamGone):
            reader.shards()
        stub.say(Answer.of(stream(shard("1"))))
        assert [each.id for each in reader.shards()] == ["1"]

    def test_children_by_the_filter(self, stub: Stub, reader: DynamoStream) -> None:
        stub.say(Answer.of(stream(shard("1", "0"), last="1")), Answer.of(stream(shard("2", "0"))))
        assert [each.id for each in reader.children("0")] == ["1", "2"]
        assert stub.asked[0].parameters["ShardFilter"] == {"Type": "CHILD_SHARDS", "ShardId": "0"}
        stub.say(Answer.of(stream()))
        assert reader.children("1") == []
        assert len(stub.asked) == 3  # a server that knows the filter is believed

    @pytest.mark.parametrize(
        "filtered",
        [
            Answer.error("ValidationException"),
            Answer.of(stream()),
            Answer.of(stream(shard("0"), shard("7", "6"))),
        ],
        ids=["refused", "empty", "ignored"],
    )
    def test_children_where_the_filter_is_not_known(self, stub: Stub, reader: DynamoStream, filtered: Answer) -> None:
        stub.say(filtered, Answer.of(stream(shard("0"), shard("1", "0"), shard("2", "1"))))
        assert [each.id for each in reader.children("0")] == ["1"]

    def test_iterators_begin_at_the_oldest_record_or_behind_one(self, stub: Stub, reader: DynamoStream) -> None:
        stub.say(Answer.of({"ShardIterator": "it"}))
        assert reader.open("0", None) == reader.open("0", "17") == "it"
        assert [asked.parameters for asked in stub.asked] == [
            {"StreamArn": ARN, "ShardId": "0", "ShardIteratorType": "TRIM_HORIZON"},
            {"StreamArn": ARN, "ShardId": "0", "ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": "17"},
        ]


class TestTables:
    def test_a_description(self, stub: Stub, table: DynamoTable) -> None:
        stub.say(Answer.of(described("KEYS_ONLY")))
        found = table.describe()
        assert found.key == ("pk", "sk")
        assert (found.stream_arn, found.view_type, found.items, found.size) == (ARN, "KEYS_ONLY", 7, 700)

    def test_a_stream_that_was_switched_off_is_none(self, stub: Stub, table: DynamoTable) -> None:
        stub.say(Answer.of(described(None)))
        assert table.describe().stream_arn is None

    def test_switching_a_stream_on_waits_until_it_is(self, stub: Stub, table: DynamoTable) -> None:
        on = described("NEW_IMAGE")
        stub.say(
            Answer.of(described(None)),
            Answer.of({}),
            Answer.of(described("NEW_IMAGE", "UPDATING")),
            Answer.of(on),
            Answer.of(stream(status="ENABLING")),
            Answer.of(on),
            Answer.of(stream()),
        )
        assert table.enable_stream("NEW_IMAGE").stream_arn == ARN
        assert stub.asked[1].operation == "UpdateTable"
        assert stub.asked[1].parameters["StreamSpecification"] == {
            "StreamEnabled": True,
            "StreamViewType": "NEW_IMAGE",
        }
        assert len(stub.asked) == 7

    def test_a_stream_that_is_on_already(self, stub: Stub, table: DynamoTable) -> None:
        stub.say(Answer.of(described()), Answer.of(described()), Answer.of(stream()))
        assert table.enable_stream("NEW_AND_OLD_IMAGES").stream_arn == ARN
        assert "UpdateTable" not in {asked.operation for asked in stub.asked}

    def test_a_stream_of_another_view_type_is_left_alone(self, stub: Stub, table: DynamoTable) -> None:
        stub.say(Answer.of(described("KEYS_ONLY")))
        with pytest.raises(SourceRefused, match="KEYS_ONLY"):
            table.enable_stream("NEW_IMAGE")
        assert "UpdateTable" not in {asked.operation for asked in stub.asked}

    def test_somebody_else_switched_it_on_meanwhile(self, stub: Stub, table: DynamoTable) -> None:
        on = Answer.of(described())
        stub.say(Answer.of(described(None)), Answer.error("ValidationException"), on, on, Answer.of(stream()))
        assert table.enable_stream("NEW_AND_OLD_IMAGES").stream_arn == ARN

    def test_a_stream_that_never_comes_on(self, stub: Stub, session: Session) -> None:
        now = iter(range(0, 10_000, 100))
        table = DynamoTable(session, "shop", clock=lambda: float(next(now)), pause=lambda _: None)
        stub.say(Answer.of(described(None)), Answer.of({}), Answer.of(described(None, "UPDATING")))
        with pytest.raises(SourceUnavailable, match="not on after"):
            table.enable_stream("NEW_IMAGE")

    @pytest.mark.parametrize(
        "arn", ["", "shop", "arn:aws:dynamodb:eu-west-1:1:table/shop", ARN + "/x", ARN.replace("shop", "other")]
    )
    def test_an_arn_that_is_none_or_of_another_table(self, table: DynamoTable, arn: str) -> None:
        with pytest.raises(SourceRefused):
            table.stream(arn, ALL)

    def test_a_table_named_by_its_arn(self, session: Session) -> None:
        assert DynamoTable(session, ARN.partition("/stream")[0]).stream(ARN, ALL).arn == ARN

    def test_a_scan_asks_for_what_is_needed_only(self, stub: Stub, table: DynamoTable) -> None:
        last = {"pk": {"S": "p"}, "sk": {"B": "AQI="}}
        first = {"Items": [], "LastEvaluatedKey": last, "ConsumedCapacity": {"CapacityUnits": 2}}
        stub.say(Answer.of(described()), Answer.of(first), Answer.of({"Items": []}))
        shape = Shape(["pk", "sk", "status", "a.b"])
        pages = list(table.scan(1, 4, None, shape))
        assert [found.consumed for found in pages] == [2, 0]
        assert pages[1].position is None
        assert stub.asked[1].parameters == {
            "TableName": "shop",
            "Segment": 1,
            "TotalSegments": 4,
            "ConsistentRead": True,
            "ReturnConsumedCapacity": "TOTAL",
            "ProjectionExpression": "#0,#1,#2,#3",
            "ExpressionAttributeNames": {"#0": "a.b", "#1": "pk", "#2": "sk", "#3": "status"},
        }
        assert stub.asked[2].parameters["ExclusiveStartKey"] == last
        stub.say(Answer.of(described()), Answer.of({"Items": []}))
        list(table.scan(1, 4, pages[0].position, shape))
        assert stub.asked[-1].parameters["ExclusiveStartKey"] == last

    def test_a_shape_without_the_key_is_refused(self, stub: Stub, table: DynamoTable) -> None:
        stub.say(Answer.of(described()))
        with pytest.raises(ValueError, match="sk"):
            table.scan(0, 1, None, Shape(["pk", "total"]))

    def test_thousands_of_attributes_are_not_named(self, stub: Stub, table: DynamoTable) -> None:
        stub.say(Answer.of(described()), Answer.of({"Items": []}))
        list(table.scan(0, 1, None, Shape(["pk", "sk", *(f"a{number}" for number in range(2000))])))
        assert "ProjectionExpression" not in stub.asked[-1].parameters


class TestGet:
    KEYS = tuple({"pk": Attr(S=f"p{number}"), "sk": Attr(N=f"{number}")} for number in range(3))

    @staticmethod
    def item(number: int, text: str | None = None) -> dict[str, Any]:
        return {"pk": {"S": f"p{number}"}, "sk": {"N": text or str(number)}, "total": {"N": str(number)}}

    def test_items_in_the_order_of_their_keys(self, stub: Stub, table: DynamoTable) -> None:
        stub.say(Answer.of({"Responses": {"shop": [self.item(2), self.item(0, "0.0")]}, "UnprocessedKeys": {}}))
        found = table.get(self.KEYS, ALL)
        assert [None if image is None else image["total"].N for image in found] == ["0", None, "2"]
        assert stub.asked[0].parameters["RequestItems"]["shop"]["ConsistentRead"] is True

    def test_one_key_twice_is_asked_for_once(self, stub: Stub, table: DynamoTable) -> None:
        stub.say(Answer.of({"Responses": {"shop": [self.item(1)]}}))
        first, second = table.get([self.KEYS[1], {"pk": Attr(S="p1"), "sk": Attr(N="1.0")}], ALL)
        assert first is not None
        assert first == second
        assert len(stub.asked[0].parameters["RequestItems"]["shop"]["Keys"]) == 1

    def test_unprocessed_keys_are_asked_for_again(self, stub: Stub, table: DynamoTable) -> None:
        left = {"shop": {"Keys": [{"pk": {"S": "p1"}, "sk": {"N": "1"}}], "ConsistentRead": True}}
        stub.say(
            Answer.of({"Responses": {"shop": [self.item(0)]}, "UnprocessedKeys": left}),
            Answer.of({"Responses": {"shop": [self.item(1)]}, "UnprocessedKeys": {}}),
        )
        found = table.get(self.KEYS, ALL)
        assert [None if image is None else image["total"].N for image in found] == ["0", "1", None]

    def test_no_key_processed_at_all(self, stub: Stub, table: DynamoTable) -> None:
        keys = [{"pk": {"S": f"p{number}"}, "sk": {"N": str(number)}} for number in range(3)]
        stub.say(Answer.of({"Responses": {}, "UnprocessedKeys": {"shop": {"Keys": keys}}}))
        with pytest.raises(Throttled):
            table.get(self.KEYS, ALL)

    def test_more_keys_than_one_call_takes(self, stub: Stub, table: DynamoTable) -> None:
        stub.say(Answer.of({"Responses": {"shop": []}}))
        keys = [{"pk": Attr(S=f"p{number}"), "sk": Attr(N="1")} for number in range(250)]
        assert table.get(keys, ALL) == [None] * 250
        assert [len(asked.parameters["RequestItems"]["shop"]["Keys"]) for asked in stub.asked] == [100, 100, 50]

    def test_nothing_asked(self, stub: Stub, table: DynamoTable) -> None:
        assert table.get([], ALL) == []
        assert stub.asked == []


def test_the_checksum_is_of_the_bytes_as_sent() -> None:
    body = packed(PAGE)
    assert zlib.crc32(gzip.compress(body)) != zlib.crc32(body)


def test_another_table_costs_little_memory() -> None:
    """What botocore knows of AWS's services is read once."""
    first = Session("eu-west-1", "http://127.0.0.1:9")
    tracemalloc.start()
    second = Session("eu-west-1", "http://127.0.0.1:9")
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 5_000_000
    for session in (first, second):
        session.close()
