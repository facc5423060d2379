"""Trains two recipes with the same seeds, and says whether one is better.

    python scripts/compare.py configs/distiller/digits.yaml configs/classifier/digits.yaml --seeds 5
    python scripts/compare.py A.yaml A.yaml --b "--model.sam 0.05" --metric test/accuracy -- --data.root DIR

Prints each seed, mean ± standard deviation of both, the paired difference with its 95 % confidence interval, and the
p-value of the paired t-test. What stands after `--` is given to both; `--a` and `--b` to one. Each run is an ordinary run
directory below `--root`; those that are finished are not trained again.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from hashlib import sha256
from pathlib import Path

# so that `python scripts/compare.py` finds the project without installing it
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from project.analysis.comparison import compare
from project.cli import main as project_main
from project.cli import start_program
from project.errors import ConfigError, RunError, did_you_mean, one_line_for_mistakes
from project.files import read_text
from project.runs.directory import find_runs
from project.runs.results import FACTS
from project.text import print_lines
from project.yaml_files import read_json


def main(arguments: list[str] | None = None) -> None:
    """Trains, tests and compares."""
    arguments = sys.argv[1:] if arguments is None else arguments
    own, common = arguments, []
    if "--" in arguments:
        own, common = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config_a")
    parser.add_argument("config_b")
    parser.add_argument("--a", default="", metavar="OPTIONS", help="further options of the first")
    parser.add_argument("--b", default="", metavar="OPTIONS", help="of the second")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="0 to N - 1 (5)")
    parser.add_argument("--metric", default="test/accuracy")
    parser.add_argument("--root", default="runs/compare", help="where the runs lie (runs/compare)")
    options = parser.parse_args(own)
    if options.seeds < 2:
        parser.error("--seeds: two or more are needed to see a spread")
    try:
        more_of = {"a": shlex.split(options.a), "b": shlex.split(options.b)}
    except ValueError as error:
        parser.error(f"--a, --b: {error}")
    results: dict[str, list[float]] = {"a": [], "b": []}
    with one_line_for_mistakes():
        for config in (options.config_a, options.config_b):
            if not Path(config).is_file():
                raise ConfigError(f"{config}: there is no such configuration file")
        for seed in range(options.seeds):
            for name, config in (("a", options.config_a), ("b", options.config_b)):
                chosen = ["--config", config, *common, *more_of[name]]
                # other options, or another text of a configuration, also of a teacher's, are another run
                digest = sha256(f"{texts(chosen)}{chosen[2:]}".encode()).hexdigest()[:8]
                run = f"{Path(config).stem}-{digest}-seed{seed}"
                results[name].append(_measure([*chosen, "--seed", str(seed)], options.root, run, options.metric))
            print_lines(f"seed {seed}: {results['a'][-1]:.4f}  {results['b'][-1]:.4f}")
    found = compare(results["a"], results["b"])
    print_lines(f"A {options.config_a} {options.a}: {found.mean_a:.4f} ± {found.deviation_a:.4f}")
    print_lines(f"B {options.config_b} {options.b}: {found.mean_b:.4f} ± {found.deviation_b:.4f}")
    low, high = found.interval
    print_lines(f"B - A: {found.difference:+.4f}, 95 % interval [{low:+.4f}, {high:+.4f}], p = {found.p_value:.4f}")


def texts(words: list[str]) -> str:
    """The configurations that are named among the words, and those that these name, each once: most name themselves."""
    found: dict[str, str] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word.endswith((".yaml", ".yml")) and word not in found and Path(word).is_file():
            found[word] = read_text(word)
            waiting += found[word].split()
    return "".join(found.values())


def _measure(options: list[str], root: str, name: str, metric: str) -> float:
    """The metric of a run, which is trained and tested unless it has been."""
    where = ["--trainer.default_root_dir", root, "--name", name]
    if not any(run.finished for run in find_runs(root, name)):
        project_main(["fit", *options, *where, "--ckpt_path", "auto"])
    run = next((run for run in reversed(find_runs(root, name)) if run.finished), None)
    if run is None:
        raise ConfigError(
            f"{name}: its training did not end; leave out what keeps no run, such as trainer.fast_dev_run"
        )
    file = run.path / "test_metrics.json"
    if not file.exists():
        project_main(["test", *options, *where, "--ckpt_path", "best"])
    try:
        metrics = read_json(file)
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: cannot be read ({error}); remove it, and the run is tested again") from None
    metrics = (
        {name: value for name, value in metrics.items() if name not in FACTS} if isinstance(metrics, dict) else None
    )
    if metrics is None or not all(value is None or isinstance(value, (int, float)) for value in metrics.values()):
        raise RunError(f"{file}: holds other things than metrics; remove it, and the run is tested again")
    if metric not in metrics:
        raise ConfigError(f"--metric: there is no '{metric}'; {did_you_mean(metric, metrics)}")
    if metrics[metric] is None:
        raise ConfigError(f"--metric: {metric} is no number in {file}; compare another one")
    return metrics[metric]


if __name__ == "__main__":
    start_program()
    main()
