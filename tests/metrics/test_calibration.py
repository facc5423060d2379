"""Against torchmetrics, float64 by hand and scipy's minimiser, on random predictions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import Tensor
from torchmetrics.classification import MulticlassCalibrationError
from torchmetrics.utilities.data import dim_zero_sum

from project.metrics.calibration import BrierScore, CalibrationError, NegativeLogLikelihood, TemperatureSearch

METRICS = {
    CalibrationError: torch.softmax,
    BrierScore: torch.softmax,
    NegativeLogLikelihood: lambda logits, dim: logits,
    TemperatureSearch: lambda logits, dim: logits,
}


def sample(
    num_classes: int = 10, temperature: float = 1.0, scale: float = 2.0, count: int = 1000, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Logits, and labels drawn from their softmax at a temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(count, num_classes)) * scale
    labels = (logits / temperature + random.gumbel(size=logits.shape)).argmax(1)
    return torch.from_numpy(logits).float(), torch.from_numpy(labels)


def updated(metric, *batches: tuple[Tensor, Tensor]):
    for batch in batches:
        metric.update(*batch)
    return metric


def expected_error(
    probabilities: Tensor, labels: Tensor, num_bins: int
) -> tuple[float, list[tuple[float, float, float]]]:
    """Equation 3 of Guo et al., bin by bin, on torchmetrics' edges."""
    edges = torch.linspace(0, 1, num_bins + 1).tolist()
    edges[-1] = float("inf")
    confidence, predicted = probabilities.double().numpy().max(1), probabilities.numpy().argmax(1)
    error, bins = 0.0, []
    for low, high in pairwise(edges):
        inside = (low <= confidence) & (confidence < high)
        if not inside.any():
            bins.append((0, float("nan"), float("nan")))
            continue
        mean, accuracy = confidence[inside].mean(), (predicted == labels.numpy())[inside].mean()
        error += inside.mean() * abs(accuracy - mean)
        bins.append((inside.sum(), mean, accuracy))
    return error, bins


# ---- calibration error


@pytest.mark.parametrize(("num_classes", "temperature"), [(2, 1.0), (3, 3.0), (10, 0.5), (10, 4.0), (100, 2.0)])
@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_the_calibration_error_is_torchmetrics_and_the_papers(num_classes, temperature, num_bins):
    logits, labels = sample(num_classes, temperature)
    batch = logits.softmax(1), labels
    error = updated(CalibrationError(num_bins), batch).compute().item()
    reference = updated(MulticlassCalibrationError(num_classes, num_bins, norm="l1"), batch).compute().item()
    assert error == pytest.approx(reference, abs=1e-6)
    assert error == pytest.approx(expected_error(*batch, num_bins)[0], abs=1e-12)


@pytest.mark.parametrize("num_bins", [1, 4, 10, 15, 20])
def test_confidences_on_edges_belong_to_the_bin_above_and_one_to_the_last(num_bins):
    edges = torch.linspace(0, 1, num_bins + 1)
    confidence = torch.cat(
        [edges, edges.nextafter(torch.tensor(0.0)), edges.nextafter(torch.tensor(2.0)), torch.ones(5)]
    )
    batch = torch.stack([confidence, torch.zeros_like(confidence)], 1), torch.arange(len(confidence)) % 3 % 2
    metric = updated(CalibrationError(num_bins), batch)
    assert confidence.max() > 1
    assert confidence.min() == 0
    error, bins = expected_error(*batch, num_bins)
    assert metric.compute().item() == pytest.approx(error, abs=1e-12)
    np.testing.assert_allclose(torch.stack(metric.bins(), 1), bins, rtol=1e-12)
    # torchmetrics has a bin of its own for 1, and takes what is above 1 for logits
    below_one = batch[0].clamp(max=1 - 2**-24), batch[1]
    reference = updated(MulticlassCalibrationError(2, num_bins, norm="l1"), below_one).compute().item()
    assert metric.compute().item() == pytest.approx(reference, abs=1e-6)


def test_bins_show_where_a_network_is_too_sure():
    logits, labels = sample(temperature=4.0)
    bins = updated(CalibrationError(), (logits.softmax(1), labels)).bins()
    np.testing.assert_allclose(torch.stack(bins, 1), expected_error(logits.softmax(1), labels, 15)[1], rtol=1e-12)
    assert bins.count.sum() == len(labels)
    assert bins.count[0] == 0  # of ten probabilities the largest is above a tenth
    assert bins.accuracy[0].isnan()
    assert bins.accuracy[-1] < bins.confidence[-1] - 0.3


# ---- scores


@pytest.mark.parametrize("num_classes", [2, 10])
def test_scores_equal_their_formulas(num_classes):
    logits, labels = sample(num_classes, temperature=2.0)
    log_p = log_softmax(logits.double().numpy(), axis=1)
    hits = np.eye(num_classes)[labels]
    brier = updated(BrierScore(), (logits.softmax(1), labels)).compute().item()
    assert brier == pytest.approx(((np.exp(log_p) - hits) ** 2).sum(1).mean(), rel=1e-6)
    likelihood = updated(NegativeLogLikelihood(), (logits, labels)).compute().item()
    assert likelihood == pytest.approx(-(log_p * hits).sum(1).mean(), rel=1e-6)


def test_scores_of_the_surely_right_and_the_surely_wrong():
    sure = torch.eye(3)
    assert updated(BrierScore(), (sure, torch.arange(3))).compute() == 0
    assert updated(BrierScore(), (sure, torch.tensor([1, 2, 0]))).compute() == 2
    assert updated(NegativeLogLikelihood(), (sure * 1e4, torch.arange(3))).compute() == 0
    assert updated(NegativeLogLikelihood(), (sure * 1e4, torch.tensor([1, 2, 0]))).compute() == 1e4


# ---- temperature


def best_temperature(logits: Tensor, labels: Tensor, prior: bool = True) -> float:
    logits, rows = logits.double().numpy(), np.arange(len(labels))
    found = minimize_scalar(
        lambda log_t: -log_softmax(logits / np.exp(log_t), axis=1)[rows, labels].sum() + prior * log_t**2 / 2,
        bounds=(np.log(0.04), np.log(25)), method="bounded", options={"xatol": 1e-9},
    )  # fmt: skip
    return float(np.exp(found.x))


@pytest.mark.parametrize("num_classes", [2, 10, 100])
@pytest.mark.parametrize("scale", [0.5, 2.0, 8.0])
@pytest.mark.parametrize("temperature", [0.2, 0.5, 1.0, 1.7, 6.0])
def test_the_temperature_is_scipys(num_classes, scale, temperature):
    """Under-confident, calibrated and over-confident."""
    for seed in range(2):
        batch = sample(num_classes, temperature, scale * temperature, count=500, seed=seed)
        reference = best_temperature(*batch)
        assert 0.06 < reference < 17  # inside the grid, or it would prove nothing
        assert updated(TemperatureSearch(), batch).compute().item() == pytest.approx(reference, rel=2e-4)


def test_scaling_by_it_calibrates():
    logits, labels = sample(temperature=3.0, count=4000)
    temperature = updated(TemperatureSearch(), (logits, labels)).compute()
    before = updated(CalibrationError(), (logits.softmax(1), labels)).compute()
    after = updated(CalibrationError(), ((logits / temperature).softmax(1), labels)).compute()
    assert before > 0.3
    assert after < 0.03


def test_labels_that_the_logits_separate_do_not_make_it_sure_of_everything():
    """The likelihood alone would: it grows down to a temperature of zero."""
    logits, _ = sample()
    batch = logits, logits.argmax(1)
    assert best_temperature(*batch, prior=False) < 0.05
    few = logits[:10] / 4, logits[:10].argmax(1)
    temperature = updated(TemperatureSearch(), few).compute().item()
    assert temperature == pytest.approx(best_temperature(*few), rel=1e-3)
    assert 0.06 < temperature < 1


def test_with_many_samples_it_is_the_maximum_of_the_likelihood():
    batch = sample(temperature=1.7, count=20_000)
    found = updated(TemperatureSearch(), batch).compute().item()
    assert found == pytest.approx(best_temperature(*batch, prior=False), rel=1e-3)


def test_labels_that_the_logits_contradict_or_do_not_know_want_a_high_one():
    logits, labels = sample()
    assert updated(TemperatureSearch(), (logits, logits.argmin(1))).compute().item() == pytest.approx(20)
    unrelated = logits, labels.roll(1)
    assert best_temperature(*unrelated, prior=False) > 20
    assert updated(TemperatureSearch(), unrelated).compute().item() == pytest.approx(
        min(best_temperature(*unrelated), 20), rel=0.01
    )


@pytest.mark.parametrize("near", [0.0505, 0.06, 16.0, 19.8])
def test_near_an_end_of_the_grid_it_stays_inside(near):
    batch = sample(temperature=near, scale=8 * near, count=4000)
    reference = min(max(best_temperature(*batch), 0.05), 20)
    assert updated(TemperatureSearch(), batch).compute().item() == pytest.approx(reference, rel=0.07)


def test_impossible_and_huge_logits_overflow_nothing():
    logits, labels = sample(count=200)
    logits = (logits * 64).round() / 64
    masked = logits.masked_fill(logits < -4, -torch.inf).scatter(1, labels[:, None], 3.0)
    plain = updated(TemperatureSearch(), (masked.clamp(min=-1e4), labels)).compute()
    assert torch.equal(updated(TemperatureSearch(), (masked, labels)).compute(), plain)
    assert torch.equal(updated(TemperatureSearch(), (masked + 2**14, labels)).compute(), plain)


def test_a_large_batch_is_searched_in_chunks(monkeypatch):
    batch = sample()
    at_once = updated(TemperatureSearch(), batch).grid_losses
    for chunk in (1, 7 * batch[0].numel()):
        monkeypatch.setattr(TemperatureSearch, "_CHUNK", chunk)
        torch.testing.assert_close(updated(TemperatureSearch(), batch).grid_losses, at_once, rtol=1e-12, atol=0)


def test_logits_that_are_no_numbers_are_not_hidden():
    logits, labels = sample(count=10)
    logits[3, 4] = torch.nan
    assert updated(TemperatureSearch(), (logits, labels)).compute().isnan()
    assert updated(CalibrationError(), (logits.softmax(1), labels)).compute().isnan()


# ---- all of them


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("size", [1, 64, 999])
def test_batches_and_processes_add_up_to_one_update_and_reset_forgets(kind, size):
    logits, labels = sample(temperature=2.0)
    inputs = METRICS[kind](logits, 1)
    whole = updated(kind(), (inputs, labels)).compute()
    batches = list(zip(inputs.split(size), labels.split(size), strict=True))
    parts = updated(kind(), (inputs[:7], labels[:7]))
    parts.compute()
    parts.reset()
    torch.testing.assert_close(updated(parts, *batches).compute(), whole, rtol=1e-6, atol=0)
    here, there = updated(kind(), *batches[::2]), updated(kind(), *batches[1::2])
    here.merge_state(there)  # what several processes do: their states are summed
    torch.testing.assert_close(here.compute(), whole, rtol=1e-6, atol=0)
    assert set(here._reductions.values()) == {dim_zero_sum}


@pytest.mark.parametrize("kind", METRICS)
def test_without_samples_nothing_is_claimed(kind):
    metric = kind()
    metric.update(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64))
    assert metric.compute().item() == pytest.approx(1.0 if kind is TemperatureSearch else float("nan"), nan_ok=True)


def test_without_samples_the_temperature_is_1_wherever_it_would_be_looked_for():
    nothing = torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64)
    assert updated(TemperatureSearch(lowest=2.0, highest=20.0), nothing).compute() == 1


@pytest.mark.parametrize("kind", METRICS)
def test_a_16_bit_network_does_not_shorten_the_sums(kind):
    """A network of 16 bits takes its metrics with it, and in bfloat16 256 + 1 is 256."""
    logits, labels = sample(temperature=2.0)
    inputs = METRICS[kind](logits, 1).bfloat16()
    network = torch.nn.ModuleList([kind()]).to(torch.bfloat16)
    for row in zip(inputs.split(1), labels.split(1), strict=True):
        network[0].update(*row)
    expected = updated(kind(), (inputs.float(), labels)).compute()
    torch.testing.assert_close(network[0].compute(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", METRICS)
def test_an_update_waits_for_nothing(kind):
    """Shapes and values that depend on the data cannot be had of tensors without any."""
    metric = kind().to("meta")
    metric.update(torch.empty(8, 5, device="meta"), torch.empty(8, dtype=torch.int64, device="meta"))
    assert all(getattr(metric, name).is_meta for name in metric._defaults)


@pytest.mark.parametrize("kind", METRICS)
def test_what_inference_mode_reset_can_be_updated_outside(kind):
    logits, labels = sample(count=20)
    metric = kind()
    with torch.inference_mode():
        updated(metric, (METRICS[kind](logits, 1), labels)).reset()
    metric.update(METRICS[kind](logits, 1), labels)
