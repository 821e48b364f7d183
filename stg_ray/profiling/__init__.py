"""The all-task training run on Ray Train, and the data maps that it records."""
