"""Stands in for pip: writes its call down, makes the console scripts, and ends as the test wants."""
