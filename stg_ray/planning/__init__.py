"""What a run would do and what it would cost, without running it."""
