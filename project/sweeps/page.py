"""What a sweep has found: a table to print, and `index.html`, a page that opens from disk without network or script."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from importlib import resources
from pathlib import Path
from shlex import quote
from typing import Any

import optuna
import pandas as pd
from jinja2 import Environment, StrictUndefined
from optuna.trial import FrozenTrial, TrialState

from project.analysis.figures.sweeps import history_figure, importance_figure, progress_figure, slice_figure
from project.analysis.report.document import Picture
from project.files import write_text
from project.sweeps.study import Sweep

_FEWEST = 4  # completed trials, for shares to say anything
_SEED = 0  # of the trees that shares are estimated with


def trials_table(sweep: Sweep) -> pd.DataFrame:
    """A row for each trial, the best first, then those that were pruned and those that failed.

    Columns: `trial`, `folder`, `state` (`complete`, `pruned`, `fail`, `running` or `waiting`), `value` (of a pruned one the
    last), `validations`, `seconds` (of one that ran in one piece), `reason` (of a failure), and one an option.
    """
    rows = []
    for folder, trial in sweep.latest().items():
        rows.append({
            "trial": trial.number,
            "folder": folder,
            "state": trial.state.name.lower(),
            "value": trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
            "validations": len(trial.intermediate_values),
            "seconds": _seconds(sweep, folder, trial),
            "reason": str(trial.user_attrs.get("reason", "")),
            **trial.params,
        })  # fmt: skip
    names = ["trial", "folder", "state", "value", "validations", "seconds", "reason", *sweep.space.distributions]
    table = pd.DataFrame(rows, columns=names).astype({"value": "float64", "seconds": "float64"})
    sign = -1 if sweep.study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    states = table["state"].map({"complete": 0, "pruned": 1, "fail": 2}).fillna(3)
    order = pd.DataFrame({"state": states, "value": sign * table["value"], "trial": table["trial"]})
    return table.loc[order.sort_values(["state", "value", "trial"]).index].reset_index(drop=True)


def _seconds(sweep: Sweep, folder: str, trial: FrozenTrial) -> float | None:
    if trial.duration is None or trial.datetime_start is None:
        return None
    if "folder" in trial.user_attrs:  # gone on with: nobody knows how long the part before took
        return None
    run = sweep.run_of(folder)
    if not run or not run.finished:
        return trial.duration.total_seconds()
    # one that outlived its sweep was found later
    ended = datetime.fromtimestamp((run.path / "status.json").stat().st_mtime)
    return min(trial.duration, ended - trial.datetime_start).total_seconds()


def importances(sweep: Sweep) -> dict[str, float]:
    """The share of each option in the variance of the values, by fANOVA (Hutter et al. 2014), the largest first.

    Empty where too few trials are complete, or all have the same value.
    """
    values = [trial.value for trial in sweep.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])]
    if len(values) < _FEWEST or len(set(values)) == 1:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=_SEED)
    found = optuna.importance.get_param_importances(sweep.study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}


def printed(table: pd.DataFrame, monitor: str, shares: dict[str, float], rows: int = 10) -> str:
    """The best trials and the shares, for a terminal."""
    shown = table.drop(columns=["folder", "reason"]).head(rows).rename(columns={"value": monitor})
    more = [f"and {len(table) - rows} more"] if len(table) > rows else []
    width = max(map(len, shares), default=0)
    depends = ["", "depended on", *(f"  {name:{width}}  {share:.3f}" for name, share in shares.items())]
    return "\n".join([shown.to_string(index=False, na_rep="–", float_format="{:.4g}".format), *more,
                      *(depends if shares else [])])  # fmt: skip


def write_page(sweep: Sweep, monitor: str, mode: str, command: str) -> Path:
    """Writes `index.html` into the sweep's folder; returns its path.

    Args:
        sweep: with at least one trial.
        monitor: the metric that trials are compared by.
        mode: `min` or `max`, whichever is better.
        command: which made the sweep.
    """
    table, shares = trials_table(sweep), importances(sweep)
    best = table.iloc[0] if table["state"].iloc[0] == "complete" else None
    run = None if best is None else sweep.run_of(best["folder"])
    text = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    style = text.split("<style>")[1].split("</style>")[0]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    options = list(sweep.space.distributions)
    page = environment.from_string(text).render(
        style_hash="sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        name=sweep.folder.name,
        monitor=monitor,
        counts=table["state"].value_counts().to_dict(),
        best=best,
        run=run and run.path,
        options=options,
        rows=table.to_dict("records"),
        pictures=_pictures(sweep, table, shares, monitor, mode),
        command=command,
        quote=lambda path: quote(str(path)),
        shown=_shown,
    )
    path = sweep.folder / "index.html"
    write_text(path, page)
    return path


def _pictures(sweep: Sweep, table: pd.DataFrame, shares: dict[str, float], monitor: str, mode: str) -> list[Picture]:
    if not (table["state"] == "complete").any():
        return []
    ordered = table.sort_values("trial")
    curves = {trial.number: list(trial.intermediate_values.values()) for trial in sweep.latest().values()}
    kinds = {
        name: getattr(each, "choices", getattr(each, "log", False)) for name, each in sweep.space.distributions.items()
    }
    pictures = [
        Picture.of(history_figure(ordered, monitor, mode), f"{monitor} of each trial in their order"),
        Picture.of(progress_figure(curves, table["trial"].iloc[0], monitor), f"{monitor} by validation of each trial"),
        Picture.of(
            slice_figure(ordered, kinds, monitor), f"{monitor} against each option", "Later trials are lighter."
        ),
    ]
    if shares:
        caption = "Shares of the variance of the values of completed trials, by fANOVA."
        pictures.append(Picture.of(importance_figure(shares), f"{monitor}: shares of the options", caption))
    return pictures


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:.4g}"
    return str(value)
