"""Contrast by loops over negatives, and the memory: what it keeps, of whom, and when."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from project.losses.crd import CRD
from tests.forks import fork

LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])


def crd(**options) -> CRD:
    torch.manual_seed(0)
    return CRD(4, 5, len(LABELS), **{"size": 8, "negatives": 30, **options})


def batch(indices: list[int], seed: int = 1) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    count = len(indices)
    features = torch.randn(count, 4, generator=generator), torch.randn(count, 5, generator=generator)
    return *features, LABELS[indices], torch.tensor(indices)


def drawn(loss: CRD) -> list[int]:
    """What the next call will draw."""
    state = torch.get_rng_state()
    found = torch.randint(loss.num_samples, (loss.negatives,)).tolist()
    torch.set_rng_state(state)
    return found


def embedded(projector: torch.nn.Linear, features: torch.Tensor) -> list[list[float]]:
    rows = (features.double() @ projector.weight.detach().double().T + projector.bias.detach().double()).tolist()
    return [[v / math.sqrt(sum(w**2 for w in row)) for v in row] for row in rows]


def by_loops(loss: CRD, batch: tuple[torch.Tensor, ...], negatives: list[int], known: dict[int, int]) -> float:
    student, teacher, labels, indices = batch
    labels, indices = labels.tolist(), indices.tolist()
    known = known | dict(zip(indices, labels, strict=True))
    count, total = loss.num_samples, 0.0
    ways = (
        (embedded(loss.student_projector, student), loss.teacher_memory.double().tolist()),
        (embedded(loss.teacher_projector, teacher), loss.student_memory.double().tolist()),
    )
    for way, (embeddings, memory) in enumerate(ways):

        def likeness(a: list[float], b: list[float]) -> float:
            return math.exp(sum(x * y for x, y in zip(a, b, strict=True)) / loss.temperature)

        positives = [likeness(e, memory[i]) for e, i in zip(embeddings, indices, strict=True)]
        others = [
            [likeness(e, memory[n]) for n in negatives if known.get(n) != label]
            for e, label in zip(embeddings, labels, strict=True)
        ]
        every = positives + [value for row in others for value in row]
        z = loss.log_normalisers[way].exp().item()
        if math.isnan(z):
            z = sum(every) / len(every) * count
        noise = loss.negatives / count
        for positive, row in zip(positives, others, strict=True):
            h = positive / z / (positive / z + noise)
            apart = [math.log(1 - value / z / (value / z + noise)) for value in row]
            total -= math.log(h) + loss.negatives * sum(apart) / len(apart)
    return total / len(indices)


def test_the_formula_with_the_normaliser_of_the_first_batch():
    loss = crd()
    first, second = batch([0, 1, 5]), batch([7, 1, 3, 2], seed=2)
    expected = by_loops(loss, first, drawn(loss), {})
    assert loss(*first).item() == pytest.approx(expected, rel=1e-4)
    normalisers = loss.log_normalisers.clone()
    expected = by_loops(loss, second, drawn(loss), {0: 0, 1: 1, 5: 2})
    assert loss(*second).item() == pytest.approx(expected, rel=1e-4)
    assert torch.equal(loss.log_normalisers, normalisers)


def test_negatives_are_of_other_classes_once_their_labels_are_known():
    loss = crd(negatives=500)
    loss(*batch(list(range(12))))
    assert torch.equal(loss.labels, LABELS)
    # the memory of its own class does not matter, but for its own place
    value = loss(*(one := batch([0])))
    again = crd(negatives=500)
    again(*batch(list(range(12))))
    again.teacher_memory[[3, 6, 9]] = again.student_memory[[3, 6, 9]] = 1e3
    torch.testing.assert_close(again(*one), value)


def test_the_memory_keeps_a_share_of_itself():
    loss = crd(momentum=0.75)
    one = batch([3, 8])
    before = loss.student_memory.clone()
    loss(*one)
    mixed = 0.75 * before[[3, 8]] + 0.25 * torch.tensor(embedded(loss.student_projector, one[0]))
    torch.testing.assert_close(loss.student_memory[[3, 8]], torch.nn.functional.normalize(mixed))
    untouched = [i for i in range(12) if i not in (3, 8)]
    assert torch.equal(loss.student_memory[untouched], before[untouched])
    assert (loss.labels[untouched] == -1).all()
    torch.testing.assert_close(loss.teacher_memory.norm(dim=1), torch.ones(12))


def test_in_evaluation_nothing_is_compared_or_remembered():
    loss = crd().eval()
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    assert loss(*batch([0, 1])).item() == 0
    assert all(torch.equal(value, before[name]) for name, value in loss.state_dict().items() if "log" not in name)
    assert loss.log_normalisers.isnan().all()


def test_a_resumed_one_goes_on():
    loss = crd()
    loss(*batch([0, 1, 5]))
    other = CRD(4, 5, 12, size=8, negatives=30)
    other.load_state_dict(loss.state_dict())
    state = torch.get_rng_state()
    expected = loss(*batch([2, 1]))
    torch.set_rng_state(state)
    assert torch.equal(other(*batch([2, 1])), expected)
    assert torch.equal(other.student_memory, loss.student_memory)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_features_in_half_precision(dtype):
    loss = crd(temperature=0.01)
    student, teacher, *rest = batch([0, 1, 2])
    student = (3e4 * student).clamp(-6e4, 6e4).to(dtype).requires_grad_()
    value = loss(student, teacher.to(dtype), *rest)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_where_all_images_are_of_one_class_there_are_no_negatives():
    loss = crd()
    student, teacher, _, indices = batch(list(range(12)))
    value = loss(student, teacher, torch.zeros(12, dtype=torch.int64), indices)
    assert value.isfinite()


def test_it_learns_to_tell_images_apart():
    loss = crd(negatives=64)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-2)
    values = []
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(*batch(list(range(12))))
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.5 * values[0]


def test_a_pass_that_is_no_new_batch_leaves_the_memories_alone():
    loss, first = crd(), batch([0, 1, 5])
    loss(*first)
    memories = loss.student_memory.clone(), loss.teacher_memory.clone()
    loss.remembers = False
    loss(*batch([0, 1, 5], seed=3))
    assert torch.equal(loss.student_memory, memories[0])
    assert torch.equal(loss.teacher_memory, memories[1])


def of_one_process(rank: int, folder: Path) -> None:
    """The steps of one of two processes, whose batches differ in size."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    loss = crd()
    for indices in ([[0, 1, 5], [2, 3]], [[2, 7], [8]])[rank]:
        loss(*batch(indices, seed=10 + indices[0]))
    torch.save(loss.state_dict(), folder / f"{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_remember_the_images_of_both(tmp_path):
    processes = [fork(of_one_process, rank, tmp_path) for rank in range(2)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    alone = crd()
    for steps in ([[0, 1, 5], [2, 7]], [[2, 3], [8]]):
        parts = [batch(indices, seed=10 + indices[0]) for indices in steps]
        alone(*(torch.cat(values) for values in zip(*parts, strict=True)))
    for name in ("student_memory", "teacher_memory", "labels"):
        torch.testing.assert_close(first[name], alone.state_dict()[name])
        assert torch.equal(first[name], second[name])
    assert (alone.labels >= 0).tolist() == [place in (0, 1, 2, 3, 5, 7, 8) for place in range(12)]
