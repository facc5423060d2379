"""Trains one configuration with many options, which Optuna chooses, and says which are best and what it depended on.

    python scripts/sweep.py --config configs/classifier/digits.yaml --space configs/sweeps/digits.yaml --trials 20
    python scripts/sweep.py --config C.yaml --space S.yaml --trials 50 --jobs 2 --name wide --model.backbone vgg8

All other options are those of `python -m project fit`, and the same for all trials. Each trial is an ordinary run below
`ROOT/sweep-NAME`, where the study lies, too. The same command goes on with a sweep that was stopped, in whichever way, and
may be given in several shells at once. docs/sweeps.md says what a space is.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from pydoc import locate
from typing import Any

# so that `python scripts/sweep.py` finds the project without installing it
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from project.cli import start_program
from project.errors import ConfigError, RunError, one_line_for_mistakes
from project.redaction import hide_in_arguments
from project.text import print_lines


def main(arguments: list[str] | None = None) -> None:
    """Sweeps, and writes `index.html` beside the trials."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--space", required=True, metavar="FILE", help="what is chosen from, a YAML file")
    parser.add_argument("--trials", type=int, required=True, metavar="N", help="how many are finished in the end")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="trials at a time (1)")
    parser.add_argument("--study", type=Path, metavar="FILE", help="where they are noted (study.db beside them)")
    options, rest = parser.parse_known_args(arguments)
    if options.trials < 1 or options.jobs < 1:
        parser.error("--trials and --jobs: must be 1 or more")
    with one_line_for_mistakes():
        _sweep(options, rest, "python scripts/sweep.py " + shlex.join(hide_in_arguments(arguments)))


def _sweep(options: argparse.Namespace, rest: list[str], command_line: str) -> None:
    # these take seconds to import, and `--help` does without them
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise ConfigError("--space: needs Optuna; install it with pip install -e '.[sweep]'") from None
    from project.cli.command import read_command
    from project.cli.run import monitored
    from project.runs.program import import_pieces
    from project.sweeps.page import importances, printed, trials_table, write_page
    from project.sweeps.space import as_arguments, read_space
    from project.sweeps.study import Sweep
    from project.sweeps.work import Work, stop_requests

    if any(argument.partition("=")[0] == "--ckpt_path" for argument in rest):
        raise ConfigError("--ckpt_path: a trial is a new run; start from weights with --model.init_from")
    import_pieces()
    space = read_space(options.space, rest)
    # what cannot be parsed is said before anything is started
    command, *_ = [read_command(["fit", *rest, *as_arguments(sample)]) for sample in space.examples()]
    config = command.config
    task: Any = locate(config.model.class_path)
    monitor, mode = monitored(config.checkpoint, task)
    folder = Path(command.root, f"sweep-{command.name}")
    sweep = Sweep(folder, options.study, space, monitor, mode, config.seed, command.plain_config())
    print_lines(f"sweep: {folder}", f"study: {sweep.file}, {sweep.finished()} of {options.trials} trials finished")
    with stop_requests() as stop:
        Work(sweep, rest).run(options.trials, options.jobs, stop)
        page = write_page(sweep, monitor, mode, command_line) if sweep.finished() else None
    if stop.status is not None:
        raise SystemExit(stop.status)
    table = trials_table(sweep)
    print_lines(*printed(table, monitor, importances(sweep)).split("\n"))
    if table["state"].iloc[0] == "complete":
        best = sweep.run_of(table["folder"].iloc[0])
        assert best is not None
        print_lines(f"next: python -m project test --ckpt_path {shlex.quote(str(best.path))}")
    if page:
        print_lines(f"page: {page.resolve().as_uri()}")
    if (table["state"] == "fail").all():
        reason = table["reason"].iloc[-1].removeprefix("error: ")
        raise RunError(f"all {len(table)} trials failed; the last: {reason}")


if __name__ == "__main__":
    start_program()
    main()
