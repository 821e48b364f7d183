"""The plan of a run and its cost, estimated without running it."""
