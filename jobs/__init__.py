"""Entry points for `ray job submit`, and the benchmarks."""
