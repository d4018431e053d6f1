"""The API does what the commands do, on a real table and a real store that a daemon keeps."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from dynaview.sinks.connect import connect
from dynaview.views.daemon.daemon import Daemon
from dynaview.views.daemon.table_worker import WorkerSettings
from dynaview.views.streaming.pipeline import PipelineSettings
from dynaview.views.streaming.stream_reader import FollowerSettings
from tests.support.until import until
from tests.views.http.conftest import Answer, Served

DECLARED = """
control: {control}
sources: {{shop: {{table: NAME, endpoint: "ENDPOINT"}}}}
sinks: {{cache: {{redis: "REDIS"}}}}
views:
  card:
    {{source: shop, sink: cache, type: hash, match: {{pk: "{{pk}}"}}, key: "NAME:{{pk}}",
      fields: {{value: {{from: value, type: integer}}}}}}
  lines: {{source: shop, sink: cache, type: string, key: "NAMEl:{{pk}}", fields: {{pk: pk}}}}
"""


class Shop(Served):
    """A server beside a daemon that keeps two views of a table."""

    def __init__(self, folder: Path, endpoint: str, redis_url: str, dynamodb: Any) -> None:
        self.name = f"work{uuid.uuid4().hex[:10]}"
        self.dynamodb = dynamodb
        dynamodb.create_table(
            TableName=self.name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        self.store = redis.Redis.from_url(redis_url)
        declared = DECLARED.replace("NAME", self.name).replace("ENDPOINT", endpoint).replace("REDIS", redis_url)
        super().__init__(folder, declared=declared)
        settings = WorkerSettings(PipelineSettings(beat=0.1), FollowerSettings(poll_first=0.005, poll_cap=0.02))
        self.daemon = Daemon(self.declaration, settings)
        self.daemon.start()

    def put(self, number: int, value: str) -> None:
        """Write an item whose value is a number's text, or is not."""
        kind = "N" if value.isdecimal() else "S"
        self.dynamodb.put_item(TableName=self.name, Item={"pk": {"S": f"p{number}"}, "value": {kind: value}})

    def value(self, number: int) -> str | None:
        """What the store shows of an item."""
        found: Any = self.store.hget(f"{self.name}:p{number}", "value")
        return None if found is None else found.decode()

    def wait_value(self, number: int, value: str | None) -> None:
        """Wait until it shows that."""
        until(lambda: self.value(number) == value, f"the row of p{number} to be {value}, not {self.value(number)}", 60)

    def ended(self, asked: Answer) -> dict[str, Any]:
        """Wait for the task that a request has begun; what came of it."""
        assert asked.status == 202, asked
        task = asked.body["task"]["id"]
        until(lambda: self.ask(f"/api/tasks/{task}").body["state"] not in ("queued", "running"), "the task to end", 60)
        found: dict[str, Any] = self.ask(f"/api/tasks/{task}").body
        return found

    def close(self) -> None:
        """End it, and leave nothing."""
        super().close()
        self.daemon.stop()
        for view in self.declaration.views.values():
            sink = connect(self.declaration.sinks[view.sink])
            sink.open(view.layout, 1).drop()
            sink.close()
        self.store.close()
        self.dynamodb.delete_table(TableName=self.name)


@pytest.fixture
def shop(tmp_path: Path, dynamodb_endpoint: str, redis_url: str, dynamodb: Any) -> Iterator[Shop]:
    made = Shop(tmp_path, dynamodb_endpoint, redis_url, dynamodb)
    try:
        for number in range(5):
            made.put(number, str(number))
        for number in range(5):
            made.wait_value(number, str(number))
        yield made
    finally:
        made.close()


def test_a_row_that_was_edited_by_hand_is_found_and_repaired(shop: Shop) -> None:
    until(lambda: all(record.filled for record in shop.control.views()), "the fills to end", 60)
    shop.store.hset(f"{shop.name}:p3", "value", "edited")
    found = shop.ended(shop.post("/api/views/card/verify"))
    assert (found["state"], found["kind"], found["view"]) == ("done", "verify", "card")
    (report,) = found["result"]
    assert (report["drift"], report["different"], report["differences"][0]["fields"]) == (1, 1, ["value"])
    assert "edited" not in str(found)
    assert shop.ask("/api/views/card").body["verified"]["drift"] == 1
    (report,) = shop.ended(shop.post("/api/views/card/repair"))["result"]
    assert report["mended"]["different"] == 1
    assert shop.value(3) == "3"
    (report,) = shop.ended(shop.post("/api/views/card/verify", {"keys": [f"{shop.name}:p3"]}))["result"]
    assert report["drift"] == 0
    assert {task["kind"] for task in shop.ask("/api/tasks").body["tasks"]} == {"verify", "repair"}


def test_an_item_is_traced_and_waited_for(shop: Shop) -> None:
    shop.put(1, "11")
    done = shop.ask(f"/api/views/card/wait?until={time.time()}&timeout=30")
    assert (done.status, done.body["reached"]) == (200, True)
    traced = shop.post("/api/trace", {"key": {"pk": "p1"}, "views": ["card"]})
    assert (traced.status, traced.body["items"], traced.body["views"][0]["verdict"]) == (200, {"shop": True}, "right")
    shown = shop.post("/api/trace", {"key": '{"pk": "p1"}', "values": True}).body
    assert shown["items"]["shop"]["value"] == {"N": "11"}
    assert shop.post("/api/trace", {"key": {"sk": "p1"}}).status == 400
    late = shop.ask(f"/api/views/card/wait?until={time.time() + 3600}&timeout=0.1")
    assert (late.status, "does not show" in late.body["error"]) == (504, True)
    shop.post("/api/views/card/pause")
    assert shop.ask("/api/views/card/wait").status == 409
    assert shop.post("/api/views/card/verify").status == 409


def test_dead_letters_are_replayed_by_a_task(shop: Shop) -> None:
    shop.put(2, "no number")
    until(lambda: shop.ask("/api/dead-letters?view=card").body["total"] == 1, "a dead letter", 60)
    (letter,) = shop.ask("/api/dead-letters").body["dead_letters"]
    found = shop.ended(shop.post("/api/dead-letters/replay", {"view": "card"}))
    assert (found["state"], found["result"]["counts"]) == ("done", {"rejected": 1})
    assert found["result"]["letters"][0]["id"] == letter["id"]
    shop.put(2, "22")
    shop.wait_value(2, "22")
    pruned = shop.ended(shop.post("/api/dead-letters/prune", {"ids": [letter["id"]]}))
    assert pruned["state"] == "done"
    assert shop.ask("/api/dead-letters").body["total"] == 0
