"""The Ray cluster that a run uses: its session, its nodes, and what fits on them."""
