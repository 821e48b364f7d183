"""Sources of task sets, and the parts that a task set is laid out in.

A new preset: a function that returns a `TaskSet` in a file of its own here, and an entry in `config/presets.py`. A new
kind of source: a key of `config.DataConfig` that is also in `config.data.SOURCES`, and a line in `sources.py`.
"""
