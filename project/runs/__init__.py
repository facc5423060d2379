"""What makes a run safe and findable: its directory, checkpoints, loggers, random state and provenance."""
