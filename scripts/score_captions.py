"""Scores of captions from any tool against their references: BLEU, ROUGE-L, CIDEr-D and more, without Java.

    python scripts/score_captions.py --references captions_val2014.json --predictions results.json --output scores.json
    python scripts/score_captions.py --references RUN/test_references.json --predictions RUN/test_captions.json --java meteor

The references are COCO's captions or a Karpathy split (of which `--split`, by default `test`, is scored). The
predictions are in COCO's results form, [{"image_id": 1, "caption": "a dog on grass"}, ...], as `test` writes them, or
`predictions.jsonl`, as `predict` writes it, whose paths are found among the references' file names. `--results` writes
them in COCO's form. The numbers equal those of coco-caption. METEOR and SPICE are its Java programs and are added with
`--java meteor spice`; one that fails is one line on standard error, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

# so that `python scripts/score_captions.py` finds the project without installing it
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from project.analysis.caption_scores import (
    as_results,
    notes,
    read_predictions,
    read_references,
    score_captions,
    score_with_java,
)
from project.cli import start_program
from project.errors import RunError, one_line_for_mistakes
from project.files import write_text
from project.metrics.captions.java import JAVA_METRICS, ProgramError
from project.text import print_lines
from project.yaml_files import dump_json


def main(arguments: list[str] | None = None) -> None:
    """Prints the table, and writes one flat JSON object; scores that are done are printed and written first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=Path, required=True, metavar="FILE")
    parser.add_argument("--predictions", type=Path, required=True, metavar="FILE")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the scores are written as JSON")
    parser.add_argument("--results", type=Path, metavar="FILE", help="where the captions are written in COCO's form")
    parser.add_argument("--split", default="test", help="of a Karpathy file (test)")
    parser.add_argument("--subset", action="store_true", help="leave out images without a prediction")
    parser.add_argument("--java", nargs="+", choices=JAVA_METRICS, default=[], help="these, too")
    options = parser.parse_args(arguments)
    with one_line_for_mistakes():
        metrics = {name: JAVA_METRICS[name]() for name in options.java}  # what is not installed is noticed first
        references = read_references(options.references, options.split)
        predictions = read_predictions(options.predictions, references)
        scores = score_captions(predictions, references, options.subset)
        _write("--results", options.results, as_results(predictions))
        _write("--output", options.output, scores)
        print_lines(f"{len(predictions)} images of {len(references.captions)}")
        print_lines(*(_row(name, score) for name, score in scores.items()))
        print_lines(*(f"note: {note}" for note in notes(predictions, references)))
        failed = False
        for name, metric in metrics.items():
            try:
                scores[name] = score_with_java(metric, predictions, references, options.subset)
            except ProgramError as error:
                failed = True
                print_lines(f"error: {name}: {error}", stderr=True)
            else:
                _write("--output", options.output, scores)
                print_lines(_row(name, scores[name]))
    if failed:
        raise SystemExit(1)


def _row(name: str, score: float) -> str:
    return f"{name:20}{score:.4f}"


def _write(option: str, path: Path | None, content: Any) -> None:
    if path:
        try:
            write_text(path, dump_json(content, indent=2) + "\n")
        except OSError as error:
            raise RunError(f"{option}: {path}: cannot be written ({error.strerror})") from None


if __name__ == "__main__":
    start_program()
    main()
