"""Bodies and parameters of requests as typed values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from dynaview.views.http.guard import Problem

Share: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=1)]
"""Of a whole."""

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""An id of the control store."""

Count: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,60}$")]
"""Digits, as many as a version may have: too many for a JSON number."""

B = TypeVar("B")


def read(given: Mapping[str, Any], kind: type[B], *, strict: bool = True) -> B:
    """What was `given` as a `kind`. Without `strict` numbers may be text, as those of a query are. Raises `Problem`."""
    try:
        return msgspec.convert(dict(given), kind, strict=strict)
    except msgspec.ValidationError as error:
        raise Problem(400, str(error)) from None
