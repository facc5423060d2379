"""Runs as tables: what lies in run directories, in tidy frames for notebooks and scripts.

    runs = load_runs("runs")
    runs.where(task="Classifier").metrics.query("metric == 'val/accuracy'")

Tidy (Wickham 2014, doi:10.18637/jss.v059.i10): a row is one value, and its columns say whose, of what and when.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import pandas as pd
import yaml

from project.errors import RunError, did_you_mean, one_line
from project.files import read_text
from project.runs.directory import CONFIG, RunDirectory
from project.runs.results import FACTS
from project.text import printable
from project.yaml_files import load_json, load_yaml

_KEYS = {"run": "str", "task": "str", "name": "str", "version": "int64", "seed": "Int64"}
_METRICS = _KEYS | {"epoch": "int64", "step": "int64", "metric": "str", "value": "float64"}
_RESULTS = _KEYS | {"metric": "str", "value": "float64"}
_CONFIGS = _KEYS | {"status": "str", "started": "datetime64[s, UTC]", "epochs": "Int64", "best_checkpoint": "str"}
_numbers = partial(load_json, parse_int=float)


class MissingRunError(RunError):
    """A run that is needed is not there. A notebook shows this in one line."""

    def _render_traceback_(self) -> list[str]:
        """What IPython prints in place of a traceback."""
        return [f"error: {one_line(self)}"]


@dataclass(frozen=True, repr=False)
class Runs:
    """What the runs below a folder have recorded.

    Every table begins with the columns `run` (its folder, below the root), `task`, `name`, `version` and `seed`. Runs of
    one recipe have one `name` and other versions.

    Attributes:
        root: the folder.
        metrics: a row for each value in a `metrics.csv`, with `epoch` (counted from 0), `step`, `metric` and `value`.
        results: a row for each value in a `test_metrics.json` or `validate_metrics.json`, with `metric` and `value`.
        configs: a row for each run, with `status` (empty where nothing was trained), `started`, `epochs` (that were
            begun), `best_checkpoint` (its path, or missing), and each option as the command line calls it, such as
            `model.optimizer.lr`; lists as text.
        problems: what could not be read, and which runs are unfinished, in one line each.
    """

    root: Path
    metrics: pd.DataFrame
    results: pd.DataFrame
    configs: pd.DataFrame
    problems: list[str]

    def __len__(self) -> int:
        return len(self.configs)

    def where(self, **values: Any) -> Runs:
        """Those whose columns of `configs` have these values, such as `where(task="Classifier", seed=[0, 1])`.

        Args:
            **values: a value of each column, or a list of values; `**{"model.backbone": "vgg8"}` for an option.

        Raises:
            RunError: there is no such column.
        """
        kept = self.configs
        for column, value in values.items():
            if column not in kept:
                raise RunError(f"runs: no column '{column}'; {did_you_mean(column, kept.columns)}")
            kept = kept[kept[column].isin(value if isinstance(value, list) else [value])]

        def of_kept(table: pd.DataFrame) -> pd.DataFrame:
            return table[table["run"].isin(kept["run"])].reset_index(drop=True)

        return Runs(self.root, of_kept(self.metrics), of_kept(self.results), kept.reset_index(drop=True), self.problems)

    def newest(self, task: str, **values: Any) -> Path:
        """The directory of the newest finished run of a task with a best checkpoint.

        Args:
            task: the name of its class.
            **values: see `where`.

        Raises:
            MissingRunError: there is none; the message says which command makes one.
        """
        found = self.where(task=task, status="finished", **values).configs.dropna(subset="best_checkpoint")
        if found.empty:
            chosen = "".join(f", {column} {value}" for column, value in values.items())
            raise MissingRunError(
                f"{self.root}: holds no finished run of a {task}{chosen}; python scripts/make_runs.py trains all that the "
                "notebooks show"
            )
        return self.root / found.sort_values(["started", "version"], kind="stable", na_position="first")["run"].iloc[-1]

    @property
    def paths(self) -> list[Path]:
        """Their directories, in the order of `configs`."""
        return [self.root / run for run in self.configs["run"]]

    def __repr__(self) -> str:
        table = self._overview().to_string(index=False) if len(self) else ""
        text = "\n".join(filter(None, [self._summary(), table, *self.problems]))
        return "\n".join(map(printable, text.split("\n")))

    def _repr_html_(self) -> str:
        problems = "".join(f"<li>{escape(problem)}</li>" for problem in self.problems)
        table = self._overview().to_html(index=False, border=0) if len(self) else ""
        return f"<p>{escape(self._summary())}</p>{table}" + (f"<ul>{problems}</ul>" if problems else "")

    def _summary(self) -> str:
        return f"{len(self)} {'run' if len(self) == 1 else 'runs'} in {self.root}, {len(self.problems)} to look at"

    def _overview(self) -> pd.DataFrame:
        return self.configs[["run", "task", "seed", "status", "epochs"]]


def load_runs(root: str | Path) -> Runs:
    """Reads every run directory below a folder, however deep; what is broken is reported and left out.

    Args:
        root: a folder of runs, or one run.

    Raises:
        MissingRunError: there is no such folder, or no run in it.
    """
    root = Path(root)
    mend = "train first, such as python -m project fit --config configs/classifier/digits.yaml"
    if not root.is_dir():
        raise MissingRunError(f"{root}: there is no such folder of runs; {mend}")
    problems: list[str] = []
    found = [_Run(path, root, problems) for path in sorted(_directories(root, problems))]
    if not found:
        raise MissingRunError(f"{root}: holds no run, a folder with {CONFIG}; {mend}")
    readable = [run for run in found if run.config is not None]
    return Runs(
        root,
        pd.DataFrame((row for run in readable for row in run.metrics), columns=list(_METRICS)).astype(_METRICS),
        pd.DataFrame((row for run in readable for row in run.results()), columns=list(_RESULTS)).astype(_RESULTS),
        _configs([run.row() for run in readable]),
        problems,
    )


def _configs(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A column for each option that any run has, after those that all have."""
    table = pd.DataFrame(rows, columns=None if rows else list(_CONFIGS))
    table["started"] = pd.to_datetime(table["started"], errors="coerce", utc=True, format="ISO8601")
    table = table.astype(_CONFIGS)
    return table[[*_CONFIGS, *(name for name in table if name not in _CONFIGS)]]


def _directories(root: Path, problems: list[str]) -> Iterator[Path]:
    def report(error: OSError) -> None:
        problems.append(printable(f"{error.filename}: cannot be looked into ({error.strerror})"))

    for folder, below, files in os.walk(root, onerror=report):
        if CONFIG in files:
            below.clear()  # nothing in a run is another run
            yield Path(folder)
        elif "metrics.csv" in files or "status.json" in files:
            below.clear()
            problems.append(printable(f"{_name(Path(folder), root)}: has no {CONFIG}, and is left out"))


def _name(path: Path, root: Path) -> str:
    return path.name if path == root else path.relative_to(root).as_posix()


class _Run:
    """One directory, as it is read; notes in `problems` what cannot be."""

    def __init__(self, path: Path, root: Path, problems: list[str]) -> None:
        self.path, self.root, self.problems = path, root, problems
        self.config: dict[str, Any] | None = self._read(CONFIG, load_yaml, dict)
        self.options = dict(_flat(self.config or {}))
        seed = self.options.get("seed")
        has_seed = type(seed) is int and 0 <= seed < 2**32  # as Lightning takes them
        self.keys = {
            "run": path.relative_to(root).as_posix(),
            "task": str(self.options.get("model", "")),
            "name": path.resolve().parent.name,
            "version": RunDirectory(path).version,
            "seed": seed if has_seed else None,
        }
        self.metrics: list[tuple[Any, ...]] = []
        if self.config is not None:
            self.metrics = [(*self.keys.values(), *row) for row in self._rows()]

    def row(self) -> dict[str, Any]:
        """Of `Runs.configs`."""
        status = self._read("status.json", load_json, dict, needed=bool(self.metrics)) or {}
        status = str(status.get("status", ""))
        starts = self._read("provenance.json", load_json, list) or []
        started = next((start.get("time") for start in starts if isinstance(start, dict)), None)
        if status and status != "finished":
            self._report(
                f"unfinished ({status}); resume with python -m project fit --ckpt_path {quote(str(self.path))}"
            )
        best = self.path / "checkpoints" / "best.ckpt"
        own = self.keys | {
            "status": status,
            "started": str(started),
            "epochs": max((row[len(_KEYS)] + 1 for row in self.metrics), default=None),
            "best_checkpoint": str(best) if best.is_file() else None,
        }
        return own | {name: value for name, value in self.options.items() if name not in own}

    def results(self) -> Iterator[tuple[Any, ...]]:
        """Of `Runs.results`."""
        for file in ("validate_metrics.json", "test_metrics.json"):
            for metric, value in (self._read(file, _numbers, dict, needed=False) or {}).items():
                if metric in FACTS:
                    continue
                if value is None or isinstance(
                    value, float
                ):  # null is no number, such as that of a class without images
                    yield *self.keys.values(), metric, math.nan if value is None else value
                else:
                    self._report(f"{file}: {metric} is no number")

    def _rows(self) -> Iterator[tuple[np.int64, np.int64, str, float]]:
        """Epoch, step, metric and value of each; a file that was cut off, by a full disk or in copying, gives its whole rows."""
        trained = (self.path / "status.json").exists()
        text = self._read("metrics.csv", str, str, needed=trained) or ""
        lines = list(io.StringIO(text))  # `splitlines` breaks at more than the ends of lines
        if lines and not lines[-1].endswith("\n"):
            self._report("metrics.csv: cut off in its last row, which is left out")
            lines.pop()
        try:
            # numbers are never quoted: a stray mark damages its own row alone
            rest = iter(lines)
            names = next(csv.reader(rest, strict=True), [])
            rows = list(csv.DictReader(rest, names, quoting=csv.QUOTE_NONE))
        except csv.Error:
            self._report("metrics.csv: damaged")
            return
        damaged = 0
        for row in rows:
            try:
                epoch, step = (np.int64(row.pop(name)) for name in ("epoch", "step"))
                values = {metric: float(value) for metric, value in row.items() if value != ""}
            except (ValueError, OverflowError, TypeError, KeyError):  # no number, or other columns
                damaged += 1
                continue
            yield from ((epoch, step, metric, value) for metric, value in values.items())
        if damaged:
            self._report(f"metrics.csv: {damaged} damaged rows are left out")

    def _read(self, file: str, parse: Any, kind: type, needed: bool = True) -> Any:
        """What a file holds; None where it cannot be read or holds something else."""
        try:
            content = parse(read_text(self.path / file))
        except FileNotFoundError:
            if needed:
                self._report(f"has no {file}")
            return None
        except OSError as error:
            self._report(f"{file}: cannot be read ({error.strerror})")
            return None
        except ValueError:
            self._report(f"{file}: damaged")
            return None
        if not isinstance(content, kind):
            self._report(f"{file}: damaged")
            return None
        return content

    def _report(self, what: str) -> None:
        self.problems.append(printable(f"{_name(self.path, self.root)}: {what}"))


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Options by the names that the command line gives them: `class_path` and `init_args` are left out of a name."""
    if not isinstance(value, dict):
        text = yaml.safe_dump(value, default_flow_style=True, width=10**6).strip() if isinstance(value, list) else value
        yield name, text
        return
    if "class_path" in value:
        yield name, str(value["class_path"]).rpartition(".")[2]
        value = value.get("init_args") or {}
    for key, below in value.items():
        yield from _flat(below, f"{name}.{key}" if name else str(key))
