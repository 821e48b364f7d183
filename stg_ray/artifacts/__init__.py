"""Run directories, and the files in them that more than one stage reads."""
