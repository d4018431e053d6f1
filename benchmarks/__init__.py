"""Measurements: ratios to raw ceilings, and long runs that count losses. Not part of the test suite."""
