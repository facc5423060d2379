"""What is watched during a run: checkpoints, progress, results, predictions."""
