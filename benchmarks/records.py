"""GetRecords bodies as AWS writes them: orders of a shop, 11 attributes, both images, about 1.3 KB a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

PAGE = 700
"""Records a page: what fits into the 1 MB that AWS answers at most."""

_FIRST = 10**20
_REVISION = 10**12
_STATUS = ("PLACED", "PACKED", "SHIPPED")
_CITY = ("Oslo", "Lima", "Kyoto", "Nairobi", "Porto")
_NOTE = "Please leave it with the neighbour, second floor, "


def sequence(number: int, revision: int) -> int:
    """The sequence number of the change of order `number` that makes it `revision`."""
    return _FIRST + revision * _REVISION + number


def item(number: int, revision: int) -> dict[str, Any]:
    """An order in DynamoDB JSON."""
    return {
        "pk": {"S": f"CUSTOMER#{number // 7:07d}"},
        "sk": {"S": f"ORDER#{number:08d}"},
        "status": {"S": _STATUS[(number + revision) % 3]},
        "total": {"N": f"{number * 37 % 90_000 + revision}.{number % 90 + 10}"},
        "quantity": {"N": str(number % 9 + revision)},
        "gift": {"BOOL": number % 4 == 0},
        "placed_at": {"S": "2026-11-23T09:30:00Z"},
        "email": {"S": f"customer{number // 7}@shop.example"},
        "note": {"S": f"{_NOTE}{number}"},
        "shipping": {"M": {"city": {"S": _CITY[number % 5]}, "zip": {"S": f"{number % 100_000:05d}"}}},
        "tags": {"L": [{"S": "web"}, {"S": "newsletter"}]},
    }


def record(number: int, revision: int) -> dict[str, Any]:
    """The change that made order `number` what it is in `revision`."""
    new, old = item(number, revision), item(number, revision - 1)
    return {
        "eventID": f"{number:032x}",
        "eventName": "MODIFY",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_795_000_000 + number // 1000,
            "Keys": {"pk": new["pk"], "sk": new["sk"]},
            "NewImage": new,
            "OldImage": old,
            "SequenceNumber": str(sequence(number, revision)),
            "SizeBytes": 900,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    }


class Pages(Sequence[bytes]):
    """The changes of orders 0 up to `changes` as pages, each made when it is asked for."""

    def __init__(self, changes: int, revision: int = 1) -> None:
        self.changes = changes
        self.revision = revision
        self.last = sequence(changes - 1, revision)
        """The last change's sequence number."""

    def __len__(self) -> int:
        return -(-self.changes // PAGE)

    def __getitem__(self, index: Any) -> Any:
        numbers = range(index * PAGE, min((index + 1) * PAGE, self.changes))
        if not numbers:
            raise IndexError(index)
        records = [record(number, self.revision) for number in numbers]
        return msgspec.json.encode({"NextShardIterator": "A" * 300, "Records": records})

    @property
    def lasts(self) -> list[int]:
        """The last sequence number of each page."""
        ends = range(PAGE, self.changes + PAGE, PAGE)
        return [sequence(min(end, self.changes) - 1, self.revision) for end in ends]
