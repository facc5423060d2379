"""Sweeps: many runs of one configuration with other options, each an ordinary run."""
