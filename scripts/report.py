"""All that can be said of one checkpoint: `report.html`, a page that opens from disk, and `report.json`, its numbers.

    python scripts/report.py --ckpt_path runs/classifier-digits/version_0
    python scripts/report.py --ckpt_path best.ckpt --output reports/best --sections accuracy,robustness --data.root DIR

Of a classifier: accuracy with 95 % intervals, confusion, calibration, robustness against attacks and corruptions, groups,
explanations and cost. Of a captioner: scores by search, diversity, the worst and the best captions, groups and cost. All
other options are those of `python -m project test`; the data are the checkpoint's unless they say otherwise.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

# so that `python scripts/report.py` finds the project without installing it
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from project.cli import start_program
from project.errors import ConfigError, one_line_for_mistakes
from project.text import print_lines

if TYPE_CHECKING:
    from project.analysis.report.document import Section


def main(arguments: list[str] | None = None) -> None:
    """Measures, and writes both files into the checkpoint's run or into `--output`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--ckpt_path", metavar="PATH", help="a checkpoint, a run's folder, or as for `test`")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where both files go (the checkpoint's run)")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="which samples are looked at (test)")
    parser.add_argument("--sections", default="", metavar="A,B", help="these alone (all)")
    parser.add_argument(
        "--images", nargs="+", type=Path, default=[], metavar="FILE", help="to explain, of a classifier"
    )
    parser.add_argument(
        "--groups", type=Path, metavar="FILE", help="a .csv or .tsv with `path` and a column per attribute"
    )
    parser.add_argument("--seed", type=int, default=0, help="of resamples, corruptions and attacks (0)")
    options, rest = parser.parse_known_args(arguments)
    with one_line_for_mistakes():
        _report(options, rest, arguments)


def _report(options: argparse.Namespace, rest: list[str], arguments: list[str]) -> None:
    # these take seconds to import, and `--help` does without them
    import torch
    from lightning.pytorch import seed_everything

    from project.analysis.report.build import check_inputs, choose_sections, facts_of, make_sections, write_report
    from project.analysis.report.subject import Subject
    from project.cli.command import read_command
    from project.cli.run import check_identity, instantiate
    from project.data.identity import compare
    from project.redaction import hide_in_arguments
    from project.runs.checkpoints import read_checkpoint
    from project.runs.directory import RunDirectory
    from project.runs.noise import quiet_lightning
    from project.runs.program import import_pieces
    from project.runs.provenance import collect_provenance

    if options.ckpt_path is None:
        raise ConfigError("--ckpt_path: is required; give a checkpoint or a run's folder")
    if not 0 <= options.seed < 2**32:
        raise ConfigError(f"--seed: must be in 0..{2**32 - 1}; got {options.seed}")
    import_pieces()
    quiet_lightning()
    command = read_command(["test", "--ckpt_path", options.ckpt_path, *rest])
    assert command.checkpoint_path is not None, "it was given"
    assert command.checkpoint is not None
    run = RunDirectory.of_checkpoint(command.checkpoint_path)
    folder: Path | None = options.output or (run.path if run else None)
    if folder is None:
        raise ConfigError(f"--output: {command.checkpoint_path} lies in no run; say where the report goes")
    seed_everything(options.seed, verbose=False)
    objects = instantiate(command)
    check_identity(command, objects.model, objects.data)
    verb = "validate" if options.split == "val" else "test"
    if line := compare(command.checkpoint.get("data"), objects.data, verb):
        print_lines(line)
    objects.model.load_state_dict(read_checkpoint(command.checkpoint_path)["state_dict"])
    device = "cuda" if torch.cuda.is_available() and command.config.trainer.accelerator != "cpu" else "cpu"
    subject = Subject(
        objects.model.to(device).eval(),
        objects.data,
        Path(command.checkpoint_path),
        options.split,
        options.seed,
        options.images,
        options.groups,
    )
    chosen = choose_sections(subject, filter(None, options.sections.split(",")))
    check_inputs(subject, folder)
    provenance = collect_provenance([], objects.data.fingerprint())
    provenance["command"] = "python scripts/report.py " + shlex.join(hide_in_arguments(arguments))
    facts = facts_of(subject, command.checkpoint, provenance)
    with _progress(list(chosen)) as done:
        sections = [done(section) for section in make_sections(subject, chosen)]
    page, numbers = write_report(folder, facts, sections)
    print_lines(f"numbers: {numbers}", f"report: {page.resolve().as_uri()}")


@contextmanager
def _progress(names: list[str]) -> Iterator[Callable[[Section], Section]]:
    """A bar on a terminal, and a line for each section elsewhere; what it gives is told of each one that is made."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    start = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(names[0], total=len(names))

        def done(section: Section) -> Section:
            nonlocal start
            line, start = f"{section.name:14}{time.monotonic() - start:6.1f} s", time.monotonic()
            progress.print(line, highlight=False) if console.is_terminal else print_lines(line)
            after = names[names.index(section.name) + 1 :]
            progress.update(bar, advance=1, description=after[0] if after else "writing")
            return section

        yield done


if __name__ == "__main__":
    start_program()
    main()
