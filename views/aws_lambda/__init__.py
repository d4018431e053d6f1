"""dynaview in AWS Lambda: `dynaview.views.aws_lambda.handler` is what a function's handler is set to.

Given records of a table's stream (by an event source mapping or EventBridge Pipes) it writes the views, under the same
guard, by the same projections as `dynaview run`. Given a schedule it makes a round (see `rounds`): what batches cannot
show, whoever reads the shards finds. Given word of records that AWS has given up, it sees that they come or are missed.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from dynaview.views.aws_lambda.function import Function, LambdaContext

_made: Function | None = None


def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """What Lambda calls. See `Function` for the environment it reads and what it answers."""
    global _made
    if _made is None:
        logging.getLogger("dynaview").setLevel(os.environ.get("DYNAVIEW_LOG_LEVEL", "INFO").upper())
        _made = Function.of(os.environ)
    return _made.handle(event, context)
