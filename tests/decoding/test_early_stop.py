"""Images that leave the batch, and where their results are found again."""

from __future__ import annotations

import torch

from project.decoding.early_stop import EarlyStop, steps_between_checks
from project.decoding.hypotheses import Hypotheses, no_hypotheses

CPU = torch.device("cpu")


def results_of(values: list[float]) -> Hypotheses:
    return no_hypotheses(len(values), 1, 2, 0, CPU)._replace(scores=torch.tensor(values)[:, None])


def test_other_devices_are_asked_rarely():
    assert steps_between_checks(CPU) == 1
    assert steps_between_checks(torch.device("cuda")) == steps_between_checks(torch.device("mps")) == 4


def test_a_few_that_are_done_stay():
    early_stop = EarlyStop(8, CPU)
    done = torch.zeros(8, dtype=torch.bool)
    assert early_stop.keep(done) is None
    done[3] = True
    assert early_stop.keep(done) is None
    done[5] = True
    assert early_stop.keep(done).tolist() == [0, 1, 2, 4, 6, 7]
    assert early_stop.keep(torch.ones(8, dtype=torch.bool)).tolist() == []
    assert EarlyStop(5, CPU).keep(torch.arange(5) == 2) is None, "less than a fourth"


def test_results_come_back_in_their_order():
    early_stop = EarlyStop(5, CPU)
    state = {"number": torch.arange(5), "none": None}
    results, state = early_stop.compact(torch.tensor([1, 3, 4]), results_of([10.0, 0, 12, 0, 0]), state)
    assert state["number"].tolist() == [1, 3, 4]
    assert results.scores[:, 0].tolist() == [0, 0, 0]
    _, state = early_stop.compact(torch.tensor([0, 2]), results_of([0.0, 13, 0]), state)
    assert state["number"].tolist() == [1, 4]
    assert early_stop.all_results(results_of([11.0, 14])).scores[:, 0].tolist() == [10, 11, 12, 13, 14]


def test_without_leaving_nothing_is_copied():
    results = results_of([1.0, 2])
    assert EarlyStop(2, CPU).all_results(results) is results
