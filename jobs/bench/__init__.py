"""Benchmarks: `python -m jobs.bench.NAME` prints a table and, as its last line, one JSON object."""
