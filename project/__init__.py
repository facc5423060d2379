"""Train, watch and understand image classifiers, captioners and distilled networks."""

__version__ = "0.1.0"
