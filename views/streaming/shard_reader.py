"""Reading one shard: the one way in which everybody does it.

The front, the catch-up reader, what a rebuild reads of the stream behind an export and what `verify --since` reads all
hold a `ShardReader`, so they agree on where to go on, what has ended, how long to rest and when all has been read:

- An iterator that expired is opened again behind the last record. Never LATEST.
- A shard ends where AWS answers without a next iterator. The last page may carry records.
- A shard that is closed, of which nothing was read and that holds nothing any more has ended too: DynamoDB lists some
  shards for a while after all of their records have been trimmed.
- **The tip.** AWS answers with empty pages in the middle of a shard, many in a row, and gives no sign that a reader is
  at the end of an open shard. So one empty page proves nothing, nor do three. What counts is a *run* of empty pages
  without a record or an error between them: `tip_pages` of them, or fewer within `tip_span` where a stream has so many
  shards that each is read seldom. A record that was in the shard when the first of them was asked for would have had
  to stay hidden from all of them, so the shard counts as read up to that moment, less a margin for what is on its way
  from the table to its stream.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dynaview.sources.errors import IteratorExpired, SourceError, StreamGone, Trimmed
from dynaview.sources.port import Broken, Page, Shard, StreamReader
from dynaview.views.cost import LATENCY, POLLS
from dynaview.views.policy import Backoff
from dynaview.views.streaming.offsets import START, Delivery

ATTEMPTS = 3
"""Times in a row that a shard has to answer that it holds nothing, or does not exist, before that is believed."""


@dataclass(slots=True)
class ReadSettings:
    """How shards are read. Times in seconds."""

    page: int = 1000
    """Records a read asks for (AWS: at most 1000)."""
    poll_first: float = 0.05
    """Wait after the first empty page of a shard; doubles with each further one."""
    poll_cap: float = LATENCY
    """The longest wait between two reads of an idle shard (a millisecond of work each)."""
    polls: float = POLLS
    """Reads of idle shards a second, all together; above that they wait longer than `poll_cap`."""
    tip_pages: int = 20
    """Empty pages in a row that show a shard to be read up to when the first of them was asked for. Where four of ten
    pages hide what is there, one proof in ten million is wrong; where seven of ten do, one in a thousand."""
    tip_span: float = 30.0
    """So long a run counts as well, of three pages at least."""
    tip_margin: float = 1.0
    """How long a change may take from the table to its stream."""


class ShardReader:
    """One reader's place in one shard. Used by one thread at a time."""

    def __init__(
        self,
        stream: StreamReader,
        shard: Shard,
        position: int = START,
        settings: ReadSettings | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`position` is the last that was read; `now` tells the time in seconds since 1970."""
        self.shard = shard
        """As it was listed last."""
        self.position = position
        self.backoff = Backoff(first=0.1, cap=10.0)
        """The waits after errors."""
        self.lost = False
        """Whether what follows the position is known to be gone."""
        self._stream = stream
        self._settings = settings or ReadSettings()
        self._now = now
        self._iterator: str | None = None
        self._run: deque[float] = deque(maxlen=self._settings.tip_pages)
        """When the last empty pages in a row were asked for."""
        self._empty = 0
        self._nothing = 0
        """Times in a row that the shard has answered that it holds nothing, or does not exist."""

    @property
    def opens_at_start(self) -> bool:
        """Whether the next read begins at the oldest record that is left, which does not say whether older ones were
        lost."""
        return self._iterator is None and self.position == START

    @property
    def ended_unread(self) -> bool:
        """Whether it is sure that nothing of the shard can be read, now or later."""
        return self.shard.last is not None and self.position == START and self._nothing >= ATTEMPTS

    @property
    def believed(self) -> bool:
        """Whether an answer that the shard is gone has come often enough."""
        return self._nothing >= ATTEMPTS

    @property
    def read_up_to(self) -> float | None:
        """The time (seconds since 1970) up to which a run of empty pages shows all of the shard to be read; None where
        there is no such run."""
        run, settings = self._run, self._settings
        if len(run) == settings.tip_pages:
            return run[0] - settings.tip_margin
        far = [at for at in list(run)[:-2] if run[-1] - at >= settings.tip_span]
        return far[-1] - settings.tip_margin if far else None

    @property
    def pause(self) -> float:
        """How long to rest before the next read: not at all while there are records."""
        if not self._empty:
            return 0.0
        return min(self._settings.poll_cap, self._settings.poll_first * 2.0 ** min(self._empty - 1, 10))

    def read(self) -> Delivery:
        """The next page, and go on behind it. Raises `SourceError`; after any error the next read begins behind the
        last record."""
        asked = self._now()
        try:
            page = self._page()
        except SourceError as error:
            self._failed(error)
            if isinstance(error, Trimmed) and self.ended_unread:
                return Delivery(self.shard.id, START, START, [], [], end=True)
            raise
        self._iterator = page.next
        self._nothing = 0
        self.backoff.reset()
        delivery = delivery_of(self.shard.id, self.position, page)
        self.position = delivery.last
        if page.changes or page.broken:
            self._empty = 0
            self._run.clear()
        else:
            self._empty += 1
            self._run.append(asked)
        return delivery

    def begin_again(self) -> None:
        """Read from the oldest record that is left."""
        self.position = START
        self.lost = False
        self._forget()

    def _page(self) -> Page[Any]:
        after = None if self.position == START else sequence_text(self.position)
        if self._iterator is not None:
            try:
                return self._stream.read(self._iterator, self._settings.page)
            except IteratorExpired:
                self._forget()
        self._iterator = self._stream.open(self.shard.id, after)
        return self._stream.read(self._iterator, self._settings.page)

    def _failed(self, error: SourceError) -> None:
        self._forget()
        self.backoff.meet(error)
        if isinstance(error, StreamGone) or (isinstance(error, Trimmed) and self.position == START):
            self._nothing += 1

    def _forget(self) -> None:
        """A new iterator may begin far before the tip: what the old one has shown proves nothing of it."""
        self._iterator = None
        self._empty = 0
        self._run.clear()


def delivery_of(shard: str, position: int, page: Page[Any]) -> Delivery:
    """What a page brings that was read behind a position."""
    positions = [int(change.body.sequence) for change in page.changes]
    last = max(positions[-1] if positions else position, position)
    broken: list[tuple[int, Broken]] = []
    for record in page.broken:
        before = record.index - len(broken) - 1  # the last readable change before it
        fallback = positions[before] if 0 <= before < len(positions) else position
        at = fallback if record.sequence is None else int(record.sequence)
        broken.append((at, record))
        last = max(last, at)
    return Delivery(shard, position, last, page.changes, positions, broken, page.next is None)


def sequence_text(position: int) -> str:
    """A sequence number as DynamoDB writes it: padded to 21 digits."""
    return f"{position:021d}"
