"""Clusterers of tasks, one per file; `registry` names them and says how to add one."""
