"""Clusterers of tasks, one a file."""
