"""Measures what this codebase claims about speed and accuracy, as ratios and gains side by side in one run.

    python scripts/benchmark.py [PART ...]

Each part measures its candidates in turn, several rounds or seeds over, so that another program on the machine slows
all of them alike. Results go to `docs/benchmarks.json` and `docs/benchmarks.md`, with the machine and the libraries'
versions; parts that were not run keep their earlier results.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# so that `python scripts/benchmark.py` finds the project without installing it, and the parts beside this file
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from benchmarks import (
    accuracy,
    captions,
    commands,
    decoding,
    distillation,
    export,
    gpu,
    memory,
    speed,
    time_to_accuracy,
)
from benchmarks.timing import Row

from project.files import write_text
from project.runs.provenance import collect_provenance
from project.yaml_files import dump_json

PARTS: dict[str, Callable[[], list[Row]]] = {
    "start": commands.measure_start,
    "epoch": commands.measure_epoch,
    "processes": commands.measure_processes,
    "memory": commands.measure_memory,
    "pages": commands.measure_pages,
    "input": speed.measure_input,
    "augment": speed.measure_augment,
    "trainer": speed.measure_trainer,
    "precision": speed.measure_precision,
    "gpu": gpu.measure_gpu,
    "recipe": accuracy.measure_recipe,
    "small_folder": accuracy.measure_small_folder,
    "methods": accuracy.measure_methods,
    "time_to_accuracy": time_to_accuracy.measure_time_to_accuracy,
    "time_to_digits": time_to_accuracy.measure_time_to_digits,
    "caption_metrics": captions.measure_caption_metrics,
    "beam_search": decoding.measure_beam_search,
    "beam_memory": decoding.measure_beam_memory,
    "caption_training": decoding.measure_caption_training,
    "distillation": distillation.measure_distillation,
    "export": export.measure_export,
    "memory_of_sets": memory.measure_memory_of_sets,
    "memory_of_validations": memory.measure_memory_of_validations,
    "memory_of_metrics": memory.measure_memory_of_metrics,
}


def main() -> None:
    """Runs the parts that are named, or all, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"among {', '.join(PARTS)}; all by default")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks.json")
    arguments = parser.parse_args()
    for part in set(arguments.parts) - set(PARTS):
        parser.error(f"there is no part '{part}' among {', '.join(PARTS)}")
    if arguments.output.suffix != ".json":
        parser.error(f"--output: {arguments.output}: must end in .json; the page goes beside it")
    try:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output: {arguments.output.parent}: cannot be made ({error.strerror})")
    where = collect_provenance([], {})  # before the results make the working tree a changed one
    where["hardware"].pop("platform")  # the kernel's build tells nobody anything
    where = {key: where[key] for key in ("time", "git", "python", "libraries", "hardware")}
    for part in arguments.parts or PARTS:
        rows = PARTS[part]()
        if not rows:
            print(f"{part}: there is nothing to measure it on")
            continue
        results = json.loads(arguments.output.read_text("utf-8")) if arguments.output.exists() else {}
        results[part] = {"what": (PARTS[part].__doc__ or "").splitlines()[0], "rows": rows, "where": where}
        print(_table(rows), flush=True)
        write_text(arguments.output, dump_json(results, indent=2) + "\n")
        write_text(arguments.output.with_suffix(".md"), _report(results))


def _table(rows: list[Row]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _report(results: dict[str, Any]) -> str:
    text = "# Benchmarks\n\nWritten by `python scripts/benchmark.py`: what is compared was measured side by side in one run.\n"
    for part, result in results.items():
        where = result["where"]
        machine = f"{where['hardware']['cpu']}, {where['hardware']['cores']} cores"
        gpus = ", ".join(where["hardware"]["gpus"])
        libraries = ", ".join(f"{name} {version}" for name, version in where["libraries"].items())
        text += f"\n## {part}\n\n{result['what']}\n\n{_table(result['rows'])}\n\n"
        text += f"{machine}{', ' + gpus if gpus else ''}; {libraries}; {where['time'][:10]}.\n"
    return text


if __name__ == "__main__":
    main()
