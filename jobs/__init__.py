"""What `ray job submit` runs, and the benchmarks."""
