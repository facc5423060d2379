"""Results of `test` and `validate` in a run directory: files of its own for each checkpoint, of which none is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from project.files import write_text
from project.runs.directory import RunDirectory
from project.runs.records import free_path, take_record
from project.text import print_lines
from project.yaml_files import dump_json

FACTS = ("checkpoint", "precision")
"""Keys of a file of metrics that are no metrics."""


def results_path(run: RunDirectory, verb: str, kind: str, checkpoint: str | Path | None) -> Path:
    """The path of a file of results: `test_metrics.json` of a run's `best.ckpt`, `test_metrics_last.json` of its `last.ckpt`.

    Args:
        run: where it lies.
        verb: `test` or `validate`.
        kind: such as `metrics.json`.
        checkpoint: what was measured; None stands for pretrained weights. One of another run, for whose results this
            one was made, is named like `best.ckpt`.
    """
    own = checkpoint is not None and Path(checkpoint).resolve().parent == run.checkpoints.resolve()
    which = Path(checkpoint).stem if own and checkpoint else "best"
    kind, dot, suffix = kind.partition(".")
    return run.path / f"{verb}_{kind}{'' if which == 'best' else f'_{which}'}{dot}{suffix}"


def replace_results(run: RunDirectory, path: Path, text: str) -> None:
    """Writes results; earlier ones that differ stay beside them, as `.earlier_N` before the suffix, in one line."""
    earlier = take_record(path, str)
    if earlier not in (None, text):
        kept = free_path(
            run.path, f"{path.stem.replace('{', '{{').replace('}', '}}')}.earlier_{{}}{path.suffix}", start=1
        )
        write_text(kept, earlier)
        print_lines(f"{path}: earlier results are kept as {kept.name}")
    run.write_text(path.name, text)


def metrics_text(metrics: dict[str, Any], checkpoint: str | Path | None, precision: str) -> str:
    """Metrics as JSON, after what they were measured on and in which precision."""
    facts = {"checkpoint": Path(checkpoint).name if checkpoint else None, "precision": precision}
    return dump_json(facts | metrics, indent=2) + "\n"
