"""Training of networks, for the profile, the groups and whatever else trains one."""
