"""What is said of a sweep at its end."""

from __future__ import annotations

import re

import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import MedianPruner

from project.sweeps.page import importances, printed, trials_table, write_page
from project.sweeps.space import Space

MONITOR = "val/accuracy"


@pytest.fixture
def swept(new_sweep, play, space, work):
    """Six trials: four that are complete, of which the third is the best, one pruned, and one that failed."""
    levels = iter([0.6, 0.5, 0.9, 0.1, 0.7])
    sweep = new_sweep(Space(space.distributions, MedianPruner(n_startup_trials=3)))
    work(sweep, play(lambda _: [level := next(levels), level], statuses=[0, 0, 0, 0, 0]), 5)
    work(sweep, play(lambda _: [0.0], statuses=[1]), 6)
    return sweep


def test_the_best_comes_first_and_failures_last(swept):
    table = trials_table(swept)
    assert table["trial"].tolist() == [2, 4, 0, 1, 3, 5]
    assert table["state"].tolist() == ["complete"] * 4 + ["pruned", "fail"]
    assert table["value"].tolist()[:5] == [0.9, 0.7, 0.6, 0.5, 0.1]
    assert table["validations"].tolist()[:5] == [2, 2, 2, 2, 1]
    assert table["reason"].tolist() == [""] * 5 + ["ZeroDivisionError: division by zero"]
    assert table["model.optimizer.lr"].tolist()[0] == swept.study.trials[2].params["model.optimizer.lr"]


def test_seconds_are_of_trials_that_ran_in_one_piece(new_sweep, play, work):
    sweep = new_sweep()
    sweep.give_back(sweep.begin(2))
    work(sweep, play(lambda _: [0.5]), 2)
    seconds = trials_table(sweep).set_index("folder")["seconds"]
    assert seconds.isna().to_dict() == {"trial_000": True, "trial_002": False}


def test_shares_find_the_option_that_matters(new_sweep, play, tmp_path, work):
    kinds = {name: FloatDistribution(0.0, 1.0) for name in ("a.matters", "a.does_not")}
    sweep = new_sweep(Space(kinds, MedianPruner()))
    assert importances(sweep) == {}
    work(sweep, play(lambda options: [float(options["a.matters"])]), 15)
    found = importances(sweep)
    assert found == importances(sweep)
    assert sum(found.values()) == pytest.approx(1)
    assert found["a.matters"] > 0.8


def test_what_is_printed(swept):
    text = printed(trials_table(swept), MONITOR, {"model.optimizer.lr": 0.75, "model.width": 0.25}, rows=4)
    lines = text.splitlines()
    assert lines[0].split()[:3] == ["trial", "state", "val/accuracy"]
    assert lines[1].split()[:3] == ["2", "complete", "0.9"]
    assert lines[5] == "and 2 more"
    assert lines[-2].split() == ["model.optimizer.lr", "0.750"]


def test_a_page_that_opens_without_a_network(swept):
    path = write_page(swept, MONITOR, "max", "python scripts/sweep.py --name '<b>'")
    text = path.read_text()
    assert path == swept.folder / "index.html"
    assert "The best: trial 2, val/accuracy 0.9" in text
    assert f"--ckpt_path {swept.folder / 'trial_002' / 'version_0'}" in text
    assert "ZeroDivisionError: division by zero" in text
    assert "4 complete, 1 pruned, 1 fail" in text
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    assert not re.search(r"(src|href)=\"(https?:)?//", text)
    assert text.count("<img ") == text.count('src="data:image/png;base64,') >= 3
    links = re.findall(r'<td><a href="([^"]+)">', text)
    assert all((swept.folder / link / "version_0").is_dir() for link in links)
    assert len(links) == 6


def test_a_page_of_failures_alone(new_sweep, play, work):
    sweep = new_sweep()
    work(sweep, play(lambda _: [0.0], statuses=[1]), 1)
    text = write_page(sweep, MONITOR, "max", "c").read_text()
    assert "The best" not in text
    assert "<img " not in text
