"""Stands in for pytest: writes down where it ran, and ends with the number in the file `outcome` there."""
