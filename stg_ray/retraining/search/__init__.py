"""The search over groupings: a surrogate proposes groups, trainings measure them, validation rows decide."""
