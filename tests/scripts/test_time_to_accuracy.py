"""The stopwatch of the race: what it times, and what it reads off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from project.data import Digits

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def race(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from benchmarks import time_to_accuracy

    return time_to_accuracy


def test_the_first_validation_that_is_good_enough_counts(race):
    course = [(1.0, 0.3), (2.5, 0.61), (4.0, 0.55), (6.0, 0.7)]
    assert [race.reached(course, target) for target in (0.3, 0.6, 0.65, 0.71)] == [1.0, 2.5, 6.0, None]


def test_a_row_has_medians_and_says_where_a_seed_did_not_get_there(race):
    courses = [[(1.0, 0.5), (3.0, 0.66)], [(2.0, 0.5), (5.0, 0.62)], [(9.0, 0.62), (9.5, 0.64)]]
    row = race._row("a", courses, (0.5, 0.6, 0.65))
    assert list(row.values()) == ["a", 2.0, 5.0, "never", "0.640", 5.0]


def test_the_clock_stands_while_validating(race, monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setattr(race.time, "process_time", lambda: float(next(ticks)))
    watch = race.Stopwatch()
    task = type("Task", (), {"results": {"val/accuracy": 0.25}})()
    watch.setup(None, task, "fit")  # 0
    for accuracy in (0.25, 0.5):
        watch.on_validation_start(None, task)  # 1, 3
        task.results["val/accuracy"] = accuracy
        watch.on_validation_end(None, task)  # 2, 4
    assert race.COURSE == [(1.0, 0.25), (2.0, 0.5)]


def test_a_fit_is_timed_at_each_validation(race, images, fit_options, tmp_path):
    arguments = fit_options(images, tmp_path / "unused")[1:]
    course = race.course_of(arguments)
    assert len(course) == 2
    assert 0 < course[0][0] < course[1][0] < 60
    assert all(0 <= accuracy <= 1 for _, accuracy in course)
    assert not (tmp_path / "unused").exists()


def test_the_plain_script_gets_the_same_digits(race, tmp_path):
    race.write_digits(tmp_path, 16)
    data = Digits(image_size=16)
    for split, samples in data.splits.items():
        files = [*(tmp_path / split).rglob("*.png")]
        assert len(files) == len(samples.labels)
        for path in files[::50]:
            index = int(path.stem)
            assert path.parent.name == str(samples.labels[index])
            grey = Image.fromarray(samples.images[index]).resize((16, 16), Image.Resampling.BILINEAR)
            assert np.array_equal(np.asarray(Image.open(path)), np.stack([np.asarray(grey)] * 3, 2))
