"""Rules of the Penn Treebank tokenizer that coco-caption uses; `ptb_tokenizer.py` is what to call."""
