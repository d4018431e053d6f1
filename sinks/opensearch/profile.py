"""What a kind of OpenSearch can be asked for. The sink asks the profile, never which kind it talks to."""

from __future__ import annotations

from dataclasses import dataclass

from dynaview.projections.rows import Layout, OpenSearchOptions


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of OpenSearch."""

    title: str
    """For people."""
    cluster: bool
    """Whether there is a cluster to ask about: what it is, its health, disks and clock, sizes, templates."""
    placement: bool
    """Whether an index has settings for shards, copies and refreshing, which may also be changed for a while."""
    refreshes: bool
    """Whether a refresh can be asked for. Else writes show when the store thinks so."""
    current_gets: bool
    """Whether documents read by their ids are promised to be current (``_mget`` on primary shards)."""
    scrolls: bool
    """Whether a listing is a scroll; else a point in time with ``search_after``."""
    deletes_by_query: bool
    patterns: bool
    """Whether names in a change of aliases may be patterns, and closed indexes are told from open ones."""
    proven: bool
    """Whether compare-and-set is promised. Else the store is asked before the first write, see `probe`."""

    def refuse(self, layout: Layout) -> None:
        """Raises ValueError where a layout asks for settings that this kind does not have."""
        if self.placement or not isinstance(layout.options, OpenSearchOptions):
            return
        if taken := sorted(name for name in layout.options.settings if _places(str(name))):
            raise ValueError(
                f"view {layout.view}: {self.title} has no settings {', '.join(taken)}: it places and refreshes indexes "
                "by itself, so leave them out"
            )


CLUSTER = Profile(
    title="OpenSearch",
    cluster=True,
    placement=True,
    refreshes=True,
    current_gets=True,
    scrolls=True,
    deletes_by_query=True,
    patterns=True,
    proven=True,
)

SERVERLESS = Profile(
    title="OpenSearch Serverless",
    cluster=False,
    placement=False,
    refreshes=False,
    current_gets=False,
    scrolls=False,
    deletes_by_query=False,
    patterns=False,
    proven=False,
)
"""Amazon OpenSearch Serverless, as its list of supported operations has it
(https://docs.aws.amazon.com/opensearch-service/latest/developerguide/serverless-genref.html)."""

_PLACING = (
    "auto_expand_replicas",
    "blocks",
    "merge",
    "number_of_",
    "refresh_interval",
    "routing",
    "search.idle",
    "translog",
)


def _places(setting: str) -> bool:
    return setting.removeprefix("index.").startswith(_PLACING)
