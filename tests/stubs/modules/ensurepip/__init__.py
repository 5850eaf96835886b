"""Stands in for ensurepip: installs the stub of pip, or fails where the test wants a Python without ensurepip."""
