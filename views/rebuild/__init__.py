"""Rebuilds and first fills: a generation of a view from a scan of its table, while the stream goes on and readers read.

`scheduler` finds what is asked for, and asks for what is due by itself; a `job` is what shares a scan (`shared_scan`).
`begin`, `phases`, `swap` and `abandon` are what one view goes through (`view_rebuild`); each step is recorded first, so
that whoever is killed between any two of them leaves nothing but work for the next one. `side_by_side` and `in_place`
are the two ways in which scanned rows come into a generation. Read from `exports` instead of the table, what the stream
tells since comes first (`catch_up`).
"""
