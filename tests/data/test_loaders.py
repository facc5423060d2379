"""Both loaders give the same batches, resume anywhere, and say in one line which file is bad."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms import RandomResizedCrop

from project.data import loaders
from project.data.augmentation import Augmentation
from project.data.batch import Batch
from project.data.draws import uniforms
from project.data.images import load_square
from project.data.loaders import Loader, ResidentLoader, Streamed, StreamingLoader, random_box
from project.data.order import EvaluationOrder, TrainingOrder
from project.data.samples import Samples
from project.data.store import Store, build_store
from project.errors import DataError

SIZE, COUNT, SEED = 8, 20, 3
AUGMENTATION = Augmentation(crop=2, shift=1, flip=True)
KINDS = ["resident", 0, 2]  # or streaming with that many workers


@pytest.fixture
def samples(tmp_path) -> Samples:
    """Noisy images of several sizes and formats."""
    random = np.random.default_rng(0)
    paths = [tmp_path / "set" / f"{i:02}.{'jpg' if i % 2 else 'png'}" for i in range(COUNT)]
    paths[0].parent.mkdir()
    for i, path in enumerate(paths):
        Image.fromarray(random.integers(0, 256, (10 + 5 * i, 60 - 2 * i, 3), np.uint8)).save(path)
    return Samples(paths, np.arange(COUNT) % 3, "train")


@pytest.fixture
def make(samples, tmp_path):
    """Builds a loader of a kind over the samples."""
    made = []

    def build(kind: str | int, order=None, augmentation: Augmentation | None = AUGMENTATION, **options) -> Loader:
        order = TrainingOrder(COUNT, 6, SEED) if order is None else order
        if kind == "resident":
            store = build_store(samples, SIZE, tmp_path / "decoded", False)
            return ResidentLoader(store, order, torch.device("cpu"), SEED, augmentation)
        made.append(StreamingLoader(samples, SIZE, order, kind, SEED, augmentation, **options))
        return made[-1]

    yield build
    for loader in made:
        loader.close()


def take(loader: Loader, epoch: int = 0, count: int = 1000, augmentation: Augmentation = AUGMENTATION) -> list[Batch]:
    """Up to `count` batches of an epoch, ended as the datamodule ends them."""
    if hasattr(loader, "sampler"):
        loader.sampler.set_epoch(epoch)
    batches = [batch for _, batch in zip(range(count), loader, strict=False)]
    return [batch.augmented(augmentation, SEED) if isinstance(batch, Streamed) else batch for batch in batches]


def assert_same(ones: list[Batch], others: list[Batch]) -> None:
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))
        assert [part.dtype for part in one[:3]] == [torch.uint8, torch.int64, torch.int64]
        assert (one.mixed is None) == (other.mixed is None)
        assert one.mixed is None or all(map(torch.equal, one.mixed, other.mixed))
        assert (one.view is None) == (other.view is None)
        assert one.view is None or torch.equal(one.view, other.view)


EVERYTHING = Augmentation(
    crop=1,
    shift=1,
    flip="alternate",
    brightness=0.2,
    hue=0.1,
    policy="rand",
    erase=0.5,
    cutout=2,
    mixup=0.4,
    cutmix=1.0,
)


@pytest.mark.parametrize("kind", [0, 2])
@pytest.mark.parametrize("options", [{}, {"repeats": 2}, {"labels": np.arange(COUNT) % 3, "balance": 1.0}])
def test_both_do_every_kind_of_augmentation_alike(kind, options, make):
    orders = [TrainingOrder(COUNT, 6, SEED, **options) for _ in range(2)]
    resident, streaming = make("resident", orders[0], EVERYTHING), make(kind, orders[1], EVERYTHING)
    for epoch in (0, 3):
        ones, others = take(resident, epoch), take(streaming, epoch, augmentation=EVERYTHING)
        assert_same(ones, others)
        assert ones[0].mixed is not None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", [AUGMENTATION, Augmentation()], ids=["moved", "as they are"])
def test_training_images_of_equal_views_are_equal(kind, what, make):
    pictures: dict[tuple[int, int], bytes] = {}
    loader = make(kind, TrainingOrder(COUNT, 6, SEED, repeats=2), what)
    for epoch in range(3):
        for batch in take(loader, epoch, augmentation=what):
            np.testing.assert_array_equal(batch.on_host, torch.stack([batch.indices, batch.view]).numpy())
            for image, *key in zip(batch.images, batch.indices.tolist(), batch.view.tolist(), strict=True):
                assert pictures.setdefault(tuple(key), image.numpy().tobytes()) == image.numpy().tobytes()
                assert 0 <= key[1] < what.num_views


@pytest.mark.parametrize("kind", ["resident", 0])
def test_images_have_no_views_in_evaluation_or_where_they_cannot_be_counted(kind, make):
    for batch in take(make(kind, EvaluationOrder(COUNT, 6), None)) + take(
        make(kind, None, EVERYTHING), 0, 2, EVERYTHING
    ):
        assert batch.view is None
        assert batch.on_host is None


def test_views_are_of_a_sample_s_index_in_its_split_also_when_files_were_left_out(samples, tmp_path):
    spoil(samples, 0, 7)
    store = build_store(samples, SIZE, tmp_path / "decoded", True)
    order = TrainingOrder(COUNT - 2, 6, SEED)
    loader = ResidentLoader(store, order, torch.device("cpu"), SEED, AUGMENTATION)
    batches = take(loader)
    assert sorted(np.concatenate([batch.on_host[0] for batch in batches])) == [*range(1, 7), *range(8, COUNT)]


@pytest.mark.parametrize("kind", ["resident", 0])
def test_the_views_of_one_sample_are_augmented_differently(kind, make):
    batches = take(make(kind, TrainingOrder(COUNT, COUNT, SEED, repeats=4)), 1)
    views: dict[int, set[bytes]] = {}
    for image, index in zip(batches[0].images, batches[0].indices.tolist(), strict=True):
        views.setdefault(index, set()).add(image.numpy().tobytes())
    assert len(views) == COUNT // 4
    assert sum(map(len, views.values())) > 0.8 * COUNT


@pytest.mark.parametrize("workers", [0, 2])
def test_resident_and_streaming_give_the_same_augmented_batches(workers, make):
    resident, streaming = make("resident"), make(workers)
    for epoch in (0, 1, 5):  # the workers live on from one to the next
        ones, others = take(resident, epoch), take(streaming, epoch)
        assert_same(ones, others)
        assert [len(batch.labels) for batch in ones] == [5, 5, 5, 5]
        assert all(b.images.is_contiguous(memory_format=torch.channels_last) for b in [*ones, *others])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", [EvaluationOrder(COUNT, 6), TrainingOrder(COUNT, 6, SEED)], ids=["val", "train"])
def test_without_augmentation_a_batch_holds_the_squares_of_its_indices(kind, order, make, samples):
    batches = take(make(kind, order, None))
    assert [batch.indices.tolist() for batch in batches] == [indices.tolist() for indices in order.batches()]
    for batch in batches:
        expected = np.stack([load_square(samples.images[i], SIZE) for i in batch.indices])
        np.testing.assert_array_equal(batch.images.permute(0, 2, 3, 1).numpy(), expected)
        assert batch.labels.tolist() == samples.labels[batch.indices].tolist()


@pytest.mark.parametrize("kind", ["resident", 0])
def test_a_sample_is_augmented_alike_in_any_batch_and_anew_each_epoch(kind, make):
    def by_index(order: TrainingOrder, epoch: int) -> dict[int, bytes]:
        batches = take(make(kind, order), epoch)
        return {int(i): im.numpy().tobytes() for b in batches for i, im in zip(b.indices, b.images, strict=True)}

    alone = by_index(TrainingOrder(COUNT, 6, SEED), 1)
    shared = [by_index(TrainingOrder(COUNT, 3, SEED, rank, 2), 1) for rank in range(2)]
    assert shared[0] | shared[1] == alone
    later = by_index(TrainingOrder(COUNT, 6, SEED), 2)
    assert sum(later[i] == alone[i] for i in range(COUNT)) <= 3  # 1 in 450 by chance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("done", [0, 1, 3, 4])
def test_a_restored_loader_goes_on_after_the_batches_already_given(kind, done, make):
    first, second = make(kind), make(kind)
    take(first, 2, done)
    second.load_state_dict(first.state_dict())
    whole = take(make(kind), 2)
    assert_same(take(second, 2), whole[done:] or whole)
    assert_same(take(second, 3), take(make(kind), 3))  # the epoch after it is whole again


@pytest.mark.parametrize("kind", ["resident", 0])
@pytest.mark.parametrize("more", [0, 1])
def test_a_resumed_epoch_that_is_stopped_again_is_resumed_from_there(kind, more, make):
    """Also when it is stopped before its first batch."""
    first, second, third = (make(kind) for _ in range(3))
    take(first, 2, 2)
    second.load_state_dict(first.state_dict())
    take(second, 2, more)
    third.load_state_dict(second.state_dict())
    assert_same(take(third, 2), take(make(kind), 2)[2 + more :])


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_that_was_left_is_followed_by_a_whole_one(kind, make):
    loader = make(kind)
    take(loader, 0, 1)
    assert_same(take(loader, 1), take(make(kind), 1))


@pytest.mark.parametrize("done", [1, 1000], ids=["in mid-epoch", "after an epoch"])
def test_closing_ends_the_worker_processes_at_once(done, make):
    others = set(multiprocessing.active_children())
    loader = make(2)
    take(loader, count=done)
    workers = set(multiprocessing.active_children()) - others
    assert len(workers) == 2
    loader.close()
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.parametrize("hangs_at", [pytest.param(0, marks=pytest.mark.slow), 2], ids=["from the start", "later"])
def test_where_workers_hang_others_go_on_with_the_next_batch(hangs_at, make, tmp_path, monkeypatch):
    """As a fork does that takes along a lock which nobody will open."""
    expected, seen, hung = take(make(0)), tmp_path / "seen", tmp_path / "hung"
    read = loaders.load_square
    monkeypatch.setattr(loaders, "_PATIENCE", 1)

    def read_once(*args):
        with open(seen, "a") as file:
            file.write(".")
        if len(seen.read_text()) > 6 * hangs_at and not hung.exists():
            hung.touch()
            time.sleep(1000)
        return read(*args)

    monkeypatch.setattr(loaders, "load_square", read_once)
    others = set(multiprocessing.active_children())
    with pytest.warns(UserWarning, match=r"^train split: no worker has given a batch for 1 s; others take their place"):
        found = take(loader := make(2))
    assert_same(found, expected)
    assert len(set(multiprocessing.active_children()) - others) == 2
    assert_same(take(loader, 1), take(make(0), 1))


@pytest.mark.parametrize("kind", KINDS)
def test_loading_leaves_the_random_state_of_the_run_alone(kind, make):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    take(make(kind))
    assert torch.equal(torch.get_rng_state(), before)


def spoil(samples: Samples, *indices: int) -> list[Path]:
    paths = [samples.images[i] for i in indices]
    for path in paths:
        os.truncate(path, path.stat().st_size // 2)
    return paths


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_file_is_one_line_also_from_a_worker(workers, make, samples):
    (bad,) = spoil(samples, 7)
    with pytest.raises(DataError) as caught:
        take(make(workers))
    text = str(caught.value)
    assert text.startswith(f"train split: {bad}: cannot be read (damaged: ")
    assert "\n" not in text
    assert "Traceback" not in text


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_files_are_listed_and_the_others_are_all_there(workers, make, samples):
    bad = spoil(samples, 7, 12)
    loader = make(workers, skip_bad=True)
    for epoch in (0, 1):
        indices = torch.cat([batch.indices for batch in take(loader, epoch)])
        assert sorted(indices.tolist()) == [i for i in range(COUNT) if i not in (7, 12)]
    assert {i: line.split(": ")[0] for i, line in loader.skipped.items()} == {7: str(bad[0]), 12: str(bad[1])}


def test_too_little_shared_memory_is_one_line_within_the_first_batch(make, small_files_only):
    with small_files_only(500), pytest.raises(DataError) as caught:
        take(make(1))
    assert re.fullmatch(
        r"train split: the worker processes need more shared memory \(none for a batch of 0\.0 MiB: .*\); make /dev/shm larger "
        r"\(docker run --shm-size 8g\), or set --data\.num_workers 0",
        str(caught.value),
    )


def test_a_batch_of_nothing_but_bad_files_is_an_error(make, samples):
    spoil(samples, *range(COUNT))
    with pytest.raises(DataError, match=r"^train split: none of a whole batch of 5 images can be read: .*damaged"):
        take(make(0, skip_bad=True))


def test_an_empty_share_of_an_evaluation_split_yields_nothing(make):
    for kind in ("resident", 0):
        assert take(make(kind, EvaluationOrder(2, 4, 3, 4), None)) == []


def test_a_draw_next_to_one_does_not_reach_beyond_the_largest_offset():
    """The draw, found by search, shifts sample 1 down; it is below one, but its nearest float32 is one."""
    seed, epoch = 4, 17895
    assert 1 - 2**-25 < uniforms(seed, epoch, np.array([1]), 5)[0, 2] < 1
    rows = torch.arange(9, dtype=torch.uint8).view(1, 9, 1, 1).expand(2, 9, 9, 3).contiguous()
    store = Store(rows, torch.zeros(2, dtype=torch.int64), [])
    loader = ResidentLoader(store, TrainingOrder(2, 2, seed), torch.device("cpu"), seed, Augmentation(shift=1))
    (batch,) = take(loader, epoch)
    assert batch.images[batch.indices.tolist().index(1), 0, :, 0].tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(("height", "width"), [(100, 100), (60, 200), (200, 60), (1, 1), (3, 1000)])
def test_random_boxes_lie_in_the_image_and_fill_it_at_most(height, width):
    for draws in [*np.random.default_rng(0).random((300, 4)), np.zeros(4), np.full(4, 1 - 2**-53)]:
        top, left, box_height, box_width = random_box(height, width, 0.08, draws)
        assert min(top, left) >= 0
        assert min(box_height, box_width) >= 1
        assert top + box_height <= height
        assert left + box_width <= width


@pytest.mark.parametrize("min_area", [0.08, 0.5])
def test_random_boxes_are_distributed_as_those_of_torchvision(min_area):
    height, width, count = 400, 500, 4000
    draws = uniforms(0, 0, np.arange(2 * count), 4)
    area = (min_area + (1 - min_area) * draws[:, 0]) * height * width
    ratio = np.exp(np.log(3 / 4) + draws[:, 1] * np.log(16 / 9))
    fits = (area * ratio <= width**2) & (area / ratio <= height**2)  # torchvision draws again where it does not
    ours = np.array([random_box(height, width, min_area, row) for row in draws[fits][:count]], float)
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = np.array([RandomResizedCrop.get_params(image, [min_area, 1], [3 / 4, 4 / 3]) for _ in range(count)], float)
    for statistic in (
        lambda top, left, h, w: h * w,
        lambda top, left, h, w: np.log(w / h),
        lambda top, left, h, w: top / np.maximum(height - h, 1),
        lambda top, left, h, w: left / np.maximum(width - w, 1),
    ):
        assert stats.ks_2samp(statistic(*ours.T), statistic(*theirs.T)).pvalue > 1e-3


def test_random_resized_crops_are_pillows_own(make, samples):
    what = Augmentation(min_area=0.3)
    # what follows on the device finds the layout that it expects
    take(make(0, None, boxed := dataclasses.replace(EVERYTHING, min_area=0.3)), 4, augmentation=boxed)
    for batch in take(make(0, None, what), 4, augmentation=what):
        for image, index in zip(batch.images, batch.indices.tolist(), strict=True):
            with Image.open(samples.images[index]) as source:
                draws = uniforms(SEED, 4, np.array([index]), 9)[0, 5:]
                top, left, height, width = random_box(source.height, source.width, 0.3, draws)
                crop = source.convert("RGB").crop((left, top, left + width, top + height))
                expected = np.asarray(crop.resize((SIZE, SIZE), Image.Resampling.BILINEAR), np.int16)
            # both round to whole levels between their two passes, in their own ways
            assert np.abs(image.permute(1, 2, 0).numpy() - expected).max() <= 1
