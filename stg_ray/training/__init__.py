"""Training of networks: one Trainer for the profile, the groups' networks, TAG and the timing."""
