"""One example or a few of every command, shown at the end of its help. Tests see that each can be parsed."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "run": ("dynaview run --http 8080", "dynaview run --workers 4 --log-format json"),
    "status": ("dynaview status", "dynaview status --check --max-lag 60"),
    "wait": ("dynaview wait order_search --timeout 10",),
    "plan": ("dynaview plan", "dynaview plan --check", "dynaview plan --cost"),
    "rebuild": ("dynaview rebuild order_search --max-read-units 200", "dynaview rebuild order_search --cancel"),
    "rollback": ("dynaview rollback order_search",),
    "verify": ("dynaview verify", "dynaview verify order_search --sample 1%"),
    "repair": ("dynaview repair order_search --dry-run", "dynaview repair order_search"),
    "dead-letters list": ("dynaview dead-letters list --view order_search --newer-than 2h",),
    "dead-letters show": ("dynaview dead-letters show 17",),
    "dead-letters replay": ("dynaview dead-letters replay --view order_search",),
    "dead-letters prune": ("dynaview dead-letters prune --view order_search",),
    "dead-letters discard": ("dynaview dead-letters discard --older-than 3d",),
    "drop": ("dynaview drop order_search",),
    "validate": ("dynaview validate -f dynaview.yaml", "dynaview validate --online"),
    "schema": ("dynaview schema > dynaview.schema.json",),
    "demo": ("dynaview demo",),
    "local up": ("dynaview local up",),
    "local down": ("dynaview local down",),
    "local status": ("dynaview local status",),
    "local env": ('eval "$(dynaview local env)"',),
    "local load": ("dynaview local load shop items.json --key pk,sk",),
}
"""By the words of a command; those that are not here show their own."""


def epilog(words: str) -> str | None:
    """What the help of a command ends with; None where its text has examples already."""
    lines = EXAMPLES.get(words)
    if lines is None:
        return None
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)
