"""dynaview schema: the JSON Schema of declarations."""

from __future__ import annotations

import json

import click

from dynaview.projections.reading.schema import schema


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of declarations, for editors.

    Save it as dynaview.schema.json and begin a declaration with
    "# yaml-language-server: $schema=dynaview.schema.json".
    """
    click.echo(json.dumps(schema(), indent=2))
