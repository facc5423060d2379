"""Images with captions: vocabulary, data sets, and the batches that captioners see."""
