"""Sources of task sets, and the parts that a task set is laid out in.

A new preset: one entry in `presets.py` and a function that returns a `TaskSet`. A new kind of source: a key in
`config.DataConfig` and a line in `sources.load_task_set`.
"""
