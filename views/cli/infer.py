"""``dynaview infer``: views proposed from a sample of a table."""

from __future__ import annotations

import json
import sys
from typing import get_args

import click

from dynaview.projections.declaration import At, SourceDeclaration
from dynaview.projections.reading.addresses import region_of
from dynaview.projections.urls import AddressError
from dynaview.sources.errors import SourceError
from dynaview.sources.table import open_table
from dynaview.views.cli.beside import printable
from dynaview.views.preview.draft import Sink, draft, proposals
from dynaview.views.preview.items import of_table

SEGMENTS = 4
"""Places of the table that the sample is from."""


@click.command("infer")
@click.argument("table")
@click.option("--region", help="AWS region.  [default: boto3's own]")
@click.option("--endpoint", metavar="URL", help="Instead of AWS's, such as DynamoDB Local's.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="Items to look at.")
@click.option(
    "--sink",
    type=click.Choice(get_args(Sink)),
    default="redis",
    show_default=True,
    help="The store that the views are proposed for.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was seen as a JSON object instead.")
def command(table: str, region: str | None, endpoint: str | None, limit: int, sink: Sink, as_json: bool) -> None:
    """Sample TABLE and print a declaration with a view for each kind of items that it holds.

    Kinds are told by the patterns of their keys (CUSTOMER#{customer_id}). Each attribute becomes a field, of the
    narrowest type that all of its values fit, with a comment that says how often it was seen. No value of an item is
    printed. It is a guess from a sample: look at it before you use it.

    \b
    Examples:
      dynaview infer shop > dynaview.yaml
      dynaview infer shop --sink postgres --limit 10000

    Exit code 0: printed. 2: asked in a wrong way, or the table cannot be read.
    """  # fmt: skip
    try:
        region = region_of(table) or region
    except AddressError as error:
        raise click.BadParameter(str(error), param_hint="TABLE") from None
    source = SourceDeclaration("main", table, region or None, endpoint or None, At("TABLE", "dynaview infer", 1))
    try:
        reader = open_table(source)
        description = reader.describe()
        sample = of_table(reader, limit, None, SEGMENTS)
    except SourceError as error:
        click.echo(f"dynaview: {printable(str(error))}", err=True)
        sys.exit(2)
    images = [item.image for item in sample.items if item.image is not None]
    if not images:
        click.echo(f"dynaview: {table} has no items to look at: dynaview init writes an example instead", err=True)
        sys.exit(2)
    proposed = proposals(images, description.key, table)
    if as_json:
        plain = {
            "table": table, "key": list(description.key), "items": len(images), "more": sample.more,
            "read_units": sample.units, "views": [each.plain() for each in proposed],
        }  # fmt: skip
        click.echo(json.dumps(plain, indent=2))
        return
    of = "the first" if sample.more else "all"
    key = ", ".join(description.key)
    notes = [
        f"Proposed by dynaview infer from {of} {len(images)} items of table {table} (key: {key}).",
        "Kinds of items are guessed from their keys, and types from what was seen: a value that does not fit the type",
        "of its field becomes a dead letter. Keep what you need, then look at the rows: dynaview preview VIEW",
    ]
    keys = {"table": table, "endpoint": f"${{DYNAMODB_ENDPOINT:-{endpoint or ''}}}"} | (
        {"region": region} if region else {}
    )
    click.echo(draft(proposed, keys, sink, notes), nl=False)
    click.echo(f"{len(images)} items read, {sample.units:g} read units, {len(proposed)} kinds of items", err=True)
