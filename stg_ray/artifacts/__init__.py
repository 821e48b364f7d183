"""What a run leaves: its directory, and the files in it that more than one stage reads."""
