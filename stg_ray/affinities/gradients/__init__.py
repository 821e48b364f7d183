"""Per-sample gradients of all tasks with respect to shared parameters."""
