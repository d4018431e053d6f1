"""Rebuilds: the next generation of a view from a scan of its table, while the stream goes on and readers keep reading.

`store` remembers what was asked for and how far it is, `driver` advances it step by step and survives being killed
between any two of them, `beside` and `inplace` are the two ways in which scanned rows come into a generation. Read from
`exported` files instead of the table, what the stream tells since comes first (`history`).
"""
