"""Per-sample gradients of all tasks' losses with respect to shared parameters."""
