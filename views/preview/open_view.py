"""From a declared view to its preview: the handle on its store, which is opened and never asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from dynaview.projections.compiler.trial import likely_key
from dynaview.projections.declaration import Declaration
from dynaview.sinks.connect import connect
from dynaview.sinks.port import Sink
from dynaview.views.preview.view_preview import ViewPreview


@contextmanager
def previews(declaration: Declaration, names: list[str]) -> Iterator[dict[str, ViewPreview]]:
    """The previews of these views. Without a table to ask, its key is what all views of it say of it."""
    with ExitStack() as stack:
        sinks: dict[str, Sink] = {}
        made: dict[str, ViewPreview] = {}
        for name in names:
            view = declaration.views[name]
            if view.sink not in sinks:
                sinks[view.sink] = connect(declaration.sinks[view.sink])
                stack.callback(sinks[view.sink].close)
            key = likely_key(each for each in declaration.views.values() if each.source == view.source)
            made[name] = ViewPreview(view, sinks[view.sink].open(view.layout, 1), key)
        yield made
