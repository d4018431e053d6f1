"""A table's items through boto3: segments of a parallel scan, and single items; always strongly consistent.

An eventually consistent read could bring back what the stream has already deleted, so there is no such option.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from dynaview.projections.attributes import Attr, Image, Shape, item_key
from dynaview.sources.errors import SourceRefused, Throttled
from dynaview.sources.filters import EXPRESSION_LIMIT, filter_expression
from dynaview.sources.pages import ItemsDecoder, decoder_of, position_key, wire
from dynaview.sources.port import Key, ScanFilter, ScanPage, ScanPosition
from dynaview.sources.session import Session, decode

BATCH = 100
"""Keys in one BatchGetItem (AWS's limit)."""


class _Unprocessed(msgspec.Struct):
    keys: list[dict[str, Attr]] = msgspec.field(name="Keys")


class _Batch(msgspec.Struct):
    """A BatchGetItem answer: by table, and only one was asked for."""

    responses: dict[str, list[msgspec.Raw]] = msgspec.field(name="Responses")
    unprocessed: dict[str, _Unprocessed] = msgspec.field(name="UnprocessedKeys", default_factory=dict)


_batch = msgspec.json.Decoder(_Batch)


def check_shape(shape: Shape, key: tuple[str, ...]) -> None:
    """Raises ValueError for a shape that drops key attributes: its images could not be told apart."""
    missing = [] if shape.names is None else [name for name in key if name not in shape.names]
    if missing:
        raise ValueError(f"the shape has to keep the key attributes: {', '.join(missing)} missing")


@dataclass(frozen=True, slots=True)
class Part:
    """What is left of a scan: one of `segments` segments, from a position on (None: all of it)."""

    segment: int
    segments: int
    after: ScanPosition | None


def scan_pages(
    session: Session, table: str, key: tuple[str, ...], shape: Shape, part: Part, only: ScanFilter | None = None
) -> Iterator[ScanPage[Any]]:
    """The pages of one segment (see `TableReader.scan`)."""
    decoder = ItemsDecoder(shape, key)
    asked, filtered = projection(shape), filter_expression(only)
    names = {**asked.pop("ExpressionAttributeNames", {}), **filtered.pop("ExpressionAttributeNames", {})}
    parameters: dict[str, Any] = {
        "TableName": table,
        "Segment": part.segment,
        "TotalSegments": part.segments,
        "ConsistentRead": True,
        "ReturnConsumedCapacity": "TOTAL",
        **asked,
        **filtered,
        **({"ExpressionAttributeNames": names} if names else {}),
    }
    position = part.after
    while True:
        if position is not None:
            parameters["ExclusiveStartKey"] = _wire_key(position_key(position))
        page = decoder.decode(session.ask("Scan", table, parameters))
        yield page
        position = page.position
        if position is None:
            return


def get_items(
    session: Session, table: str, key: tuple[str, ...], keys: Sequence[Mapping[str, Attr]], shape: Shape
) -> list[Image | None]:
    """The items under `keys` in their order (see `TableReader.get`)."""
    check_shape(shape, key)
    decoder = ItemsDecoder(shape, key)
    image_decoder: msgspec.json.Decoder[Any] = decoder_of(shape.type)
    names = [item_key(each) for each in keys]
    waiting: dict[str, Mapping[str, Attr]] = dict(zip(names, keys, strict=True))
    found: dict[str, Image] = {}
    while waiting:
        batch = dict(list(waiting.items())[:BATCH])
        request = {"Keys": [_wire_key(each) for each in batch.values()], "ConsistentRead": True, **projection(shape)}
        body = session.ask("BatchGetItem", table, {"RequestItems": {table: request}})
        answer = decode(_batch, "BatchGetItem", table, body)
        unprocessed = {item_key(each) for part in answer.unprocessed.values() for each in part.keys}
        if unprocessed >= batch.keys():
            raise Throttled(f"BatchGetItem on {table} processed none of {len(batch)} keys")
        for raw in (raw for items in answer.responses.values() for raw in items):
            try:
                image = image_decoder.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise SourceRefused(f"an item of {table} cannot be read: {error}", "") from error
            found[item_key(decoder.key(image))] = image
        for name in batch.keys() - unprocessed:
            del waiting[name]
    return [found.get(name) for name in names]


def projection(shape: Shape) -> dict[str, Any]:
    """The parameters that ask for the attributes of `shape` only; by placeholders, as many names are reserved words.
    Where that text would be too long, every attribute comes."""
    if shape.names is None:
        return {}
    placeholders = {f"#{index}": name for index, name in enumerate(shape.names)}
    expression = ",".join(placeholders)
    if not expression or len(expression) > EXPRESSION_LIMIT:
        return {}
    return {"ProjectionExpression": expression, "ExpressionAttributeNames": placeholders}


def _wire_key(key: Mapping[str, Attr] | Key) -> dict[str, Any]:
    return {name: wire(attr) for name, attr in key.items()}
