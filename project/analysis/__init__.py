"""Functions that read runs and draw."""
