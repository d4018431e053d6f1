"""What an examination finds: one line for each thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Area: TypeAlias = Literal["machine", "control", "source", "sink", "view"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `do` says what fixes it; empty where all is well."""

    area: Area
    name: str
    what: str
    ok: bool = True
    do: str = ""

    def plain(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"area": self.area, "name": self.name, "ok": self.ok, "what": self.what, "do": self.do or None}
