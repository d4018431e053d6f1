"""The tables of the control store. A change here is also a migration, see `dynaview.views.control.migrations`."""

from __future__ import annotations

import sqlalchemy as sa

meta = sa.MetaData()

about = sa.Table(
    "dynaview_control",
    meta,
    sa.Column("schema_version", sa.Integer, primary_key=True),
)

views = sa.Table(
    "dynaview_views",
    meta,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("source", sa.String(200), nullable=False),
    sa.Column("sink", sa.String(200), nullable=False),
    sa.Column("numbered", sa.Integer, nullable=False),  # the highest generation that there ever was
    sa.Column("stream_arn", sa.Text),
    sa.Column("stream_count", sa.Integer, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),  # moves whenever what a pipeline of the view has to do changes
    sa.Column("write_order", sa.String(100), nullable=False),  # generations that are written, as "2 1"
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("paused", sa.Float),  # since when nothing is to be done for the view; null: it is not paused
    sa.Column("pause_reason", sa.Text),
    sa.Column("seen", sa.Float, nullable=False),
    sa.Column("watermark", sa.Float),
    sa.Column("awaited", sa.Float),  # the latest moment that somebody waits for the watermark to pass
    sa.Column("read", sa.BigInteger, nullable=False),
    sa.Column("applied", sa.BigInteger, nullable=False),
    sa.Column("stale", sa.BigInteger, nullable=False),
    sa.Column("unmatched", sa.BigInteger, nullable=False),
    sa.Column("dead_lettered", sa.BigInteger, nullable=False),
)

generations = sa.Table(
    "dynaview_generations",
    meta,
    sa.Column("view", sa.String(200), primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("declaration", sa.Text, nullable=False),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("claimed", sa.Boolean, nullable=False),  # whatever stands there was made by this control store
    sa.Column("filled", sa.Boolean, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("keep_until", sa.Float),  # of a previous one
    sa.Column("scanned", sa.BigInteger),  # what the scan that filled it has read: items, those that matched, rows
    sa.Column("matched", sa.BigInteger),
    sa.Column("inserted", sa.BigInteger),
)

adopted = sa.Table(  # which revision of a view each worker works by
    "dynaview_adopted",
    meta,
    sa.Column("view", sa.String(200), primary_key=True),
    sa.Column("worker", sa.String(100), primary_key=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

checkpoints = sa.Table(
    "dynaview_checkpoints",
    meta,
    sa.Column("view", sa.String(200), primary_key=True),
    sa.Column("shard", sa.String(200), primary_key=True),
    sa.Column("sequence", sa.String(50)),  # null: nothing of the shard is in the view yet
    sa.Column("time", sa.Float),
    sa.Column("finished", sa.Boolean, nullable=False),
    sa.Column("tip", sa.Float(53)),  # where workers share a stream: up to when a look at the shard's end proves it read
    sa.Column("updated", sa.Float, nullable=False),
)

rebuilds = sa.Table(  # the last one of each view, first fills too
    "dynaview_rebuilds",
    meta,
    sa.Column("view", sa.String(200), primary_key=True),
    sa.Column("job", sa.String(50), nullable=False),
    sa.Column("source", sa.String(200), nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("phase", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("fresh", sa.Boolean, nullable=False),
    sa.Column("options", sa.Text, nullable=False),
    sa.Column("answer", sa.String(20), nullable=False),
    sa.Column("requested", sa.Float, nullable=False),
    sa.Column("updated", sa.Float, nullable=False),
    sa.Column("scan_began", sa.Float),
    sa.Column("scan_end", sa.Float),
    sa.Column("written", sa.Float),
    sa.Column("items", sa.BigInteger, nullable=False),
    sa.Column("of_items", sa.BigInteger, nullable=False),
    sa.Column("matched", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("swept", sa.BigInteger, nullable=False),
    sa.Column("letters", sa.BigInteger, nullable=False),
    sa.Column("units", sa.Float, nullable=False),
    sa.Column("before_state", sa.String(20), nullable=False),
    sa.Column("before_reason", sa.Text, nullable=False),
)

scans = sa.Table(  # how far the scans of rebuilds are
    "dynaview_scans",
    meta,
    sa.Column("job", sa.String(50), primary_key=True),
    sa.Column("segment", sa.Integer, primary_key=True),
    sa.Column("segments", sa.Integer, nullable=False),
    sa.Column("position", sa.Text),
    sa.Column("finished", sa.Boolean, nullable=False),
    sa.Column("scanned", sa.BigInteger, nullable=False),
)

dead_letters = sa.Table(
    "dynaview_dead_letters",
    meta,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("view", sa.String(200), nullable=False),
    sa.Column("item_key", sa.Text, nullable=False),
    sa.Column("row_key", sa.Text, nullable=False),
    sa.Column("version", sa.String(60), nullable=False),
    sa.Column("shard", sa.String(200), nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("change", sa.LargeBinary, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("counted", sa.Boolean, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.UniqueConstraint("view", "generation", "version", "item_key", "row_key"),
    sqlite_autoincrement=True,  # an id that was discarded never comes back as another letter's
)

workers = sa.Table(
    "dynaview_workers",
    meta,
    sa.Column("id", sa.String(200), primary_key=True),
    sa.Column("grp", sa.String(64), nullable=False),
    sa.Column("source", sa.String(200), nullable=False),
    sa.Column("host", sa.String(200), nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("sharing", sa.Boolean, nullable=False),  # it reads, and has to adopt every revision of its views
    sa.Column("started", sa.Float(53), nullable=False),
    sa.Column("expires", sa.Float(53), nullable=False),
)

ownership = sa.Table(  # the group of workers that keeps a view
    "dynaview_ownership",
    meta,
    sa.Column("view", sa.String(200), primary_key=True),
    sa.Column("grp", sa.String(64), nullable=False),
    sa.Column("half", sa.Integer),  # of the group's views, in which it is; null: of an earlier dynaview's, in the first
)

leases = sa.Table(
    "dynaview_leases",
    meta,
    sa.Column("grp", sa.String(64), primary_key=True),
    sa.Column("resource", sa.String(300), primary_key=True),
    sa.Column("owner", sa.String(200)),  # null: free
    sa.Column("epoch", sa.BigInteger, nullable=False),
)

tasks = sa.Table(  # long work that was asked for over HTTP
    "dynaview_tasks",
    meta,
    sa.Column("id", sa.String(20), primary_key=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("view", sa.String(200), nullable=False),  # empty: of several
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("cancelled", sa.Boolean, nullable=False),  # somebody has asked for its end
    sa.Column("asked", sa.Float(53), nullable=False),
    sa.Column("updated", sa.Float(53), nullable=False),
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("expected", sa.BigInteger, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("result", sa.Text),
)

meters = sa.Table(  # what processes count of their own work, added up
    "dynaview_meters",
    meta,
    sa.Column("kind", sa.String(10), primary_key=True),
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("numbers", sa.Text, nullable=False),
)

verifications = sa.Table(
    "dynaview_verifications",
    meta,
    sa.Column("view", sa.String(200), primary_key=True),
    sa.Column("begun", sa.Float, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
)
