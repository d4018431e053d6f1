"""Presses Ctrl-C in every command that may take long, at many moments from its first one on: ``python -m
tests.soak.interrupts [--every SECONDS] [COMMAND …]``. Every one has to end with 130 and leave a terminal as it was."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

import boto3

from dynaview.local.servers import CREDENTIALS, REGION
from tests.support.processes import child
from tests.support.servers import servers
from tests.support.terminal import interrupted, terminal, wrong

DYNAVIEW = str(Path(sys.executable).with_name("dynaview"))

DECLARED = """
control: sqlite:///control.db
sources: {{shop: {{table: {table}, endpoint: "{DYNAMODB_ENDPOINT}", latency: 0.1}}}}
sinks: {{cache: {{redis: "{REDIS_URL}"}}}}
views:
  cards: {{source: shop, sink: cache, type: hash, key: "{table}:{{pk}}", fields: {{pk: pk, n: n}}}}
"""

ITEMS = 3000

COMMANDS = {
    "help": ["--help"],
    "status": ["status"],
    "wait": ["wait", "cards", "--until", "2099-01-01T00:00:00Z"],
    "verify": ["verify"],
    "repair": ["repair", "--dry-run"],
    "rebuild": ["rebuild", "cards", "--yes", "--max-read-units", "50"],
    "preview": ["preview", "cards", "--limit", "3"],
    "watch": ["preview", "cards", "--limit", "3", "--watch"],
    "trace": ["trace", "--key", '{"pk": "1"}'],
    "follow": ["trace", "--key", '{"pk": "1"}', "--follow"],
    "infer": ["infer", "TABLE"],
    "doctor": ["doctor"],
    "plan": ["plan"],
    "validate": ["validate", "--online"],
    "letters": ["dead-letters", "list"],
    "run": ["run", "--http", "0"],
    "workers": ["run", "--workers", "2"],
    "drop": ["drop", "cards"],
}
"""By name: what is typed. What asks is never answered."""

ENDS_WELL = ("run", "workers")
"""Ctrl-C is how these end: exit code 0."""

FIRST = 0.03
"""Seconds in which Python itself begins."""


def main() -> None:
    """Sweep, and tell what is wrong; exit code 1 where anything is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=float, default=0.1, help="seconds between the moments")
    parser.add_argument("--until", type=float, default=2.5, help="the last moment")
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=f"of {', '.join(COMMANDS)}")
    chosen = parser.parse_args()
    with servers(("dynamodb", "redis")) as urls, tempfile.TemporaryDirectory() as folder:
        bad = _sweep(Path(folder), urls, chosen.commands or list(COMMANDS), chosen.every, chosen.until)
    sys.exit(bad > 0)


def _sweep(folder: Path, urls: dict[str, str], commands: list[str], every: float, until: float) -> int:
    table = f"interrupts{uuid.uuid4().hex[:8]}"
    os.environ |= {**CREDENTIALS, "AWS_DEFAULT_REGION": REGION}
    client = boto3.client("dynamodb", REGION, endpoint_url=urls["DYNAMODB_ENDPOINT"])
    client.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    for first in range(0, ITEMS, 25):
        puts: list[Any] = [
            {"PutRequest": {"Item": {"pk": {"S": str(n)}, "n": {"N": str(n)}}}} for n in range(first, first + 25)
        ]
        client.batch_write_item(RequestItems={table: puts})
    (folder / "dynaview.yaml").write_text(DECLARED.format(table=table, **urls))
    environment = dict(os.environ)
    try:
        with child([DYNAVIEW, "run"], cwd=folder, env=environment, stderr=-3) as daemon:
            words = [DYNAVIEW, "wait", "cards", "--timeout", "60"]
            with terminal(words, environment, folder) as waiting:
                waiting.ended(90)
            bad = sum(_one(folder, environment, name, table, every, until) for name in commands)
            daemon.terminate()
            daemon.wait(30)
    finally:
        client.delete_table(TableName=table)
    return bad


def _one(folder: Path, environment: dict[str, str], name: str, table: str, every: float, until: float) -> int:
    """How many moments of one command were bad."""
    words = [DYNAVIEW, *(table if word == "TABLE" else word for word in COMMANDS[name])]
    moments, bad, ended = [round(every * n, 3) for n in range(1, int(until / every) + 1) if every * n >= FIRST], 0, 0
    for moment in moments:
        end = interrupted(words, environment, folder, moment)
        if end is None:
            ended += 1
            if ended == 3:
                break
        elif fault := wrong(end, 0 if name in ENDS_WELL else 130):
            bad += 1
            print(f"{name} after {moment} s: {fault}\n    {end.shown[-600:]!r}", flush=True)
    print(f"{name}: {'all well' if not bad else f'{bad} bad'} up to {moment} s", flush=True)
    return bad


if __name__ == "__main__":
    main()
