"""Measurements: ratios to raw ceilings, memory, lag. Not part of the test suite; soaks are in tests/soak."""
