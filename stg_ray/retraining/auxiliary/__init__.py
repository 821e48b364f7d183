"""Auxiliary tasks of one main task: which of the others help it."""
