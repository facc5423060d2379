"""A trained network in a file for other programs, with a model card beside it.

    python scripts/export.py --ckpt_path runs/classifier-digits/version_0 --format onnx --output exports/digits.onnx
    python scripts/export.py --ckpt_path best.ckpt --format pt2 --output exports/digits.pt2
    python scripts/export.py --ckpt_path best.ckpt --format safetensors --output exports/digits.safetensors

What is written answers as the checkpoint does, which is tried before anything is written: with another answer the
status is 1. docs/export.md says what goes in and comes out, and how to run it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# so that `python scripts/export.py` finds the project without installing it
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from project.cli import start_program
from project.errors import one_line, one_line_for_mistakes
from project.text import print_lines


def main(arguments: list[str] | None = None) -> None:
    """Prints the largest differences and the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", required=True, metavar="PATH", help="a checkpoint, or a run's folder")
    parser.add_argument("--format", required=True, metavar="FORMAT", help="onnx, pt2 or safetensors")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="ends in the format's name")
    options = parser.parse_args(arguments)
    with one_line_for_mistakes():
        # these take seconds to import, and `--help` does without them
        from project.export.build import export
        from project.runs.program import import_pieces

        import_pieces()
        from project.export.parity import ParityError
        from project.runs.noise import quiet_lightning

        quiet_lightning()
        try:
            exported = export(options.ckpt_path, options.format, options.output)
        except ParityError as error:
            raise SystemExit(f"error: {one_line(error)}") from None  # status 1: it is not the user's doing
    for what, batch_size, value in exported.differences:
        print_lines(f"{what}, batch of {batch_size}: a probability differs by at most {value:.1e}")
    print_lines(*(f"wrote: {file}" for file in exported.files))


if __name__ == "__main__":
    start_program()
    main()
