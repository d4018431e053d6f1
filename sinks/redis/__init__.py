"""The Redis sink."""

from dynaview.sinks.redis.sink import RedisSink

__all__ = ["RedisSink"]
