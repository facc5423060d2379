"""What caption metrics cost, against the ones they equal."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.timing import Row
from captions.made_up import ordinary_caption

_IMAGES, _REFERENCES, _ROUNDS = 5000, 5, 3
_ROOT = Path(__file__).resolve().parents[2]

_OURS = """
from project.metrics.captions import CaptionScores
def score(predictions, references):
    scores = CaptionScores()
    scores.update(predictions, references)
    return {name: scores.compute()[name] for name in ("bleu_4", "rouge_l", "cider_d")}
"""
_THEIRS = """
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
def score(predictions, references):
    tokenizer = PTBTokenizer()
    gts = tokenizer.tokenize({i: [{"caption": text} for text in texts] for i, texts in enumerate(references)})
    res = tokenizer.tokenize({i: [{"caption": text}] for i, text in enumerate(predictions)})
    bleu = Bleu(4).compute_score(gts, res, verbose=0)[0][3]
    return {"bleu_4": bleu, "rouge_l": Rouge().compute_score(gts, res)[0], "cider_d": Cider().compute_score(gts, res)[0]}
"""
_MEASURE = """
import json, resource, sys, time
def peak(who):
    return resource.getrusage(who).ru_maxrss / 1024
with open(sys.argv[1], encoding="utf-8") as file:
    predictions, references = json.load(file)
before, children = peak(resource.RUSAGE_SELF), peak(resource.RUSAGE_CHILDREN)
start = time.perf_counter()
scores = score(predictions, references)
seconds = time.perf_counter() - start
java = peak(resource.RUSAGE_CHILDREN)
memory = peak(resource.RUSAGE_SELF) - before + (java if java > children else 0)
print(json.dumps([seconds, memory, {name: float(value) for name, value in scores.items()}]))
"""


def measure_caption_metrics() -> list[Row]:
    """BLEU, ROUGE-L and CIDEr-D of 5,000 images with 5 references each, with tokenising; memory beyond the imports."""
    generator = random.Random(0)  # noqa: S311 (nothing secret)
    references = [[ordinary_caption(generator) for _ in range(_REFERENCES)] for _ in range(_IMAGES)]
    predictions = [ordinary_caption(generator) for _ in range(_IMAGES)]
    candidates = {"pycocoevalcap, with Java": _THEIRS, "here": _OURS}
    found: dict[str, list[Any]] = {name: [] for name in candidates}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "captions.json")
        file.write_text(json.dumps([predictions, references]), "utf-8")
        for _ in range(_ROUNDS):
            for name, code in candidates.items():
                command = [sys.executable, "-c", code + _MEASURE, str(file)]
                environment = os.environ | {"PYTHONPATH": str(_ROOT)}
                done = subprocess.run(command, capture_output=True, check=True, encoding="utf-8", env=environment)
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
    theirs = min(seconds for seconds, _, _ in found["pycocoevalcap, with Java"])
    rows = []
    for name, results in found.items():
        best = min(seconds for seconds, _, _ in results)
        memory = statistics.median(memory for _, memory, _ in results)
        scores = {key: f"{value:.12f}" for key, value in results[0][2].items()}
        rows.append({"scorer": name, "seconds": round(best, 2), "times as fast": round(theirs / best, 1),
                     "MiB": round(memory), **scores})  # fmt: skip
    return rows
