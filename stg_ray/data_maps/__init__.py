"""Data maps: each sample's confidence and variability, per task, over the epochs of a training run."""
