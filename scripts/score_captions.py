"""Scores captions that any tool wrote against their references: BLEU, ROUGE-L, CIDEr-D and more, without Java.

    python scripts/score_captions.py --references captions_val2014.json --predictions results.json --output scores.json

The references are COCO's captions or a Karpathy split (of which `--split`, by default `test`, is scored), the
predictions are in COCO's results form: [{"image_id": 1, "caption": "a dog on grass"}, ...]. The numbers equal those of
coco-caption. METEOR and SPICE are its Java programs and are added with `--java meteor spice`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

# so that `python scripts/score_captions.py` finds the project without installing it
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from project.analysis.caption_scores import read_predictions, read_references, score_captions
from project.cli import start_program
from project.errors import RunError, one_line_for_mistakes
from project.files import write_text
from project.metrics.captions.scores import JAVA_METRICS
from project.text import print_lines


def main(arguments: list[str] | None = None) -> None:
    """Prints the table, and writes one flat JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=Path, required=True, metavar="FILE")
    parser.add_argument("--predictions", type=Path, required=True, metavar="FILE")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the scores are written as JSON")
    parser.add_argument("--split", default="test", help="of a Karpathy file (test)")
    parser.add_argument("--subset", action="store_true", help="leave out images without a prediction")
    parser.add_argument("--java", nargs="+", choices=JAVA_METRICS, default=[], help="these, too")
    options = parser.parse_args(arguments)
    with one_line_for_mistakes():
        predictions = read_predictions(options.predictions)
        references = read_references(options.references, options.split)
        scores = score_captions(predictions, references, options.java, options.subset)
        if options.output:
            try:
                write_text(options.output, json.dumps(scores, indent=2) + "\n")
            except OSError as error:
                raise RunError(f"--output: {options.output}: cannot be written ({error.strerror})") from None
        print_lines(f"{len(predictions)} images of {len(references.captions)}")
        for name, score in scores.items():
            print_lines(f"{name:20}{score:.4f}")


if __name__ == "__main__":
    start_program()
    main()
