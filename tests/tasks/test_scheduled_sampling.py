"""The share of words of its own rises over epochs."""

from __future__ import annotations

import pytest

from project.errors import ConfigError
from project.tasks.scheduled_sampling import ScheduledSampling


def test_scheduled_sampling_rises_in_equal_steps():
    schedule = ScheduledSampling(0.5, 4)
    assert [schedule.at(epoch) for epoch in range(7)] == [0, 0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    assert ScheduledSampling(0.5, 0).at(0) == 0.5
    assert ScheduledSampling().at(99) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probability": 1.5}, "probability: must lie in 0..1; got 1.5"),
        ({"probability": -0.5}, "probability: must lie in 0..1; got -0.5"),
        ({"epochs": -1}, "epochs: must be at least 0; got -1"),
    ],
)
def test_a_schedule_that_cannot_be_is_a_config_error(options, message):
    with pytest.raises(ConfigError, match=rf"^model\.scheduled_sampling\.{message}$"):
        ScheduledSampling(**options)
