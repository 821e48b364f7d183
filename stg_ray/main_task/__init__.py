"""One main task: which of a run's other tasks help it, as a function and as a command."""
