"""All that can be said of one checkpoint: one page for people, and the same numbers for programs."""
