"""The errors that users see."""

from __future__ import annotations

import pickle

import pytest
from project import errors


@pytest.mark.parametrize("kind", [errors.ConfigError, errors.DataError, errors.CheckpointError, errors.RunError])
def test_every_kind_survives_the_trip_from_a_worker(kind):
    copy = pickle.loads(pickle.dumps(kind("a.png: no image")))
    assert type(copy) is kind
    assert isinstance(copy, errors.UserError)
    assert str(copy) == "a.png: no image"


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("momentun", ["momentum", "lr"], "did you mean 'momentum'?"),
        ("fitt", ("fit", "test"), "did you mean 'fit'?"),
        ("xyz", ["momentum", "lr", "lr"], "there is lr, momentum."),
        ("xyz", [], "there is none."),
        ("qqq", [f"name{i:02}" for i in range(30)],
         "there are 30, among them name00, name01, name02, name03, name04, name05."),
    ],
)  # fmt: skip
def test_the_nearest_name_or_what_there_is(name, known, expected):
    assert errors.did_you_mean(name, known) == expected
