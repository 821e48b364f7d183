"""Training the groups' networks, and the baselines they are measured against, as trials of Ray Tune."""
