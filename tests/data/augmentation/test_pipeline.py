"""The steps together: order, random numbers of their own, alternating flip, limits of the options."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from project.data.augmentation import Augmentation
from project.data.augmentation.erasing import cutout, random_erase
from project.data.augmentation.geometry import move_pixels
from project.data.augmentation.mixing import mix
from project.data.augmentation.operations import apply_operations
from project.data.draws import uniforms
from project.data.order import REPEAT_BIT, REPETITION_BIT
from project.errors import ConfigError

SIZE, COUNT = 12, 30
EVERYTHING = Augmentation(
    crop=1, shift=1, flip=True, brightness=0.3, contrast=0.2, saturation=0.4, hue=0.1, policy="trivial", erase=0.5,
    cutout=3, mixup=0.5, cutmix=1.0,
)  # fmt: skip


def images(count: int = COUNT) -> torch.Tensor:
    return torch.randint(256, (count, SIZE, SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def run(what: Augmentation, epoch: int = 1, views: np.ndarray | None = None, seed: int = 5) -> torch.Tensor:
    """(B, S, S, 3) of the views of the images."""
    views = np.arange(COUNT) if views is None else views
    rows = torch.from_numpy(views & (2**REPETITION_BIT - 1))
    batch = what.apply(images(), rows, rows, rows, what.plan(seed, epoch, views, SIZE))
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    return batch.images.permute(0, 2, 3, 1)


def test_the_steps_follow_each_other_in_the_documented_order():
    views = np.arange(COUNT)
    plan = EVERYTHING.plan(5, 1, views, SIZE)
    expected = move_pixels(images(), torch.arange(COUNT), plan.draws["geometry"], 1, 1, True)
    for turn in range(5):  # four of the jitter and one of the policy
        expected = apply_operations(expected, plan.operations[:, turn], plan.magnitudes[:, turn])
    expected = random_erase(expected, plan.draws["erase"], 0.5, (124, 116, 104))
    expected = cutout(expected, plan.draws["cutout"], 3, (124, 116, 104))
    expected, mixed = mix(expected, torch.arange(COUNT) + 100, plan.draws["mix"], 0.5)
    batch = EVERYTHING.apply(images(), torch.arange(COUNT), torch.arange(COUNT) + 100, torch.arange(COUNT), plan)
    assert torch.equal(batch.images.permute(0, 2, 3, 1), expected)
    assert torch.equal(batch.mixed.labels, mixed.labels)
    assert torch.equal(batch.mixed.share, mixed.share)
    assert batch.labels.tolist() == list(range(100, 100 + COUNT))
    assert batch.indices.tolist() == list(range(COUNT))


STEPS = {
    "geometry": {"crop": 1, "flip": True}, "erase": {"erase": 0.5}, "cutout": {"cutout": 2}, "mix": {"mixup": 1.0},
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_switching_one_step_on_leaves_the_numbers_of_the_others(step):
    views = np.arange(COUNT)
    alone, together = Augmentation(**STEPS[step]).plan(1, 2, views, SIZE), EVERYTHING.plan(1, 2, views, SIZE)
    columns = slice(2, 4) if step == "mix" else slice(None)  # its first two depend on which of both are on
    assert torch.equal(alone.draws[step][:, columns], together.draws[step][:, columns])


def test_no_two_steps_share_a_random_number():
    plan = dataclasses.replace(EVERYTHING, mixup=1.0).plan(1, 2, np.arange(3), SIZE)  # whose shares are uniform
    jitter = uniforms(1, 2, np.arange(3), 8, 9).astype(np.float32)
    policy = uniforms(1, 2, np.arange(3), 3, 28).astype(np.float32)
    columns = np.concatenate([*(values.numpy() for values in plan.draws.values()), jitter, policy], 1)
    box = np.stack([EVERYTHING.box_draws(1, 2, view) for view in range(3)]).astype(np.float32)
    for row, crop in zip(columns, box, strict=True):
        numbers = {*row.tolist(), *crop.tolist()}
        assert len(numbers) == len(row) + len(crop)


@pytest.mark.parametrize("epoch", [0, 1, 6])
def test_a_view_is_a_function_of_seed_epoch_and_view_alone(epoch):
    # mixing looks at the neighbour, and is left out
    what = dataclasses.replace(EVERYTHING, mixup=0.0, cutmix=0.0)
    whole = run(what, epoch)
    some = np.array([7, 3, 21])
    assert torch.equal(run(what, epoch, some), whole[some])
    assert not torch.equal(run(what, epoch + 1, some), whole[some])
    assert not torch.equal(run(what, epoch, some + (1 << REPETITION_BIT)), whole[some])
    assert not torch.equal(run(what, epoch, some, seed=6), whole[some])


def test_alternating_flips_show_both_sides_in_any_two_epochs():
    alternate = Augmentation(flip="alternate")
    first, second, third = (run(alternate, epoch) for epoch in (4, 5, 6))
    assert torch.equal(second, first.flip(2))
    assert torch.equal(third, first)
    flipped = (first != images()).flatten(1).any(1)
    assert 5 <= int(flipped.sum()) <= 25
    assert torch.equal(first[flipped], images()[flipped].flip(2))
    # the second view of a sample in one epoch shows the other side, too
    assert torch.equal(run(alternate, 4, np.arange(COUNT) + (1 << REPETITION_BIT)), second)
    assert torch.equal(run(alternate, 4, np.arange(COUNT) + (1 << REPEAT_BIT)), second)
    assert torch.equal(run(alternate, 4, np.arange(COUNT) + (1 << REPETITION_BIT) + (1 << REPEAT_BIT)), first)


def test_rand_augment_does_as_many_operations_as_asked():
    assert Augmentation(policy="rand", rand_operations=3).plan(0, 0, np.arange(4), SIZE).operations.shape == (4, 3)


def test_a_plan_is_cut_and_moved_whole():
    plan = EVERYTHING.plan(0, 0, np.arange(COUNT), SIZE)
    part = plan.part(slice(10, 14)).to(torch.device("cpu"))
    fresh = EVERYTHING.plan(0, 0, np.arange(10, 14), SIZE)
    assert all(torch.equal(part.draws[name], fresh.draws[name]) for name in plan.draws)
    np.testing.assert_array_equal(part.operations, fresh.operations)
    assert torch.equal(part.magnitudes, fresh.magnitudes)
    assert part.draws.keys() == {"geometry", "erase", "cutout", "mix"}


COUNTED = {
    "nothing": ({}, 1),
    "CIFAR's": ({"crop": 4, "flip": True}, 162),
    "flip": ({"flip": True}, 2),
    "alternate": ({"flip": "alternate"}, 2),
    "shift": ({"shift": 2}, 25),
    "crop": ({"crop": 2}, 25),
    "all": ({"crop": 1, "shift": 1, "flip": "alternate"}, 162),
    "no effect": ({"crop": 1, "rand_operations": 5, "rand_magnitude": 3, "fill": (0, 0, 0)}, 9),
}


@pytest.mark.parametrize("case", COUNTED)
def test_equal_numbers_are_equal_pictures_and_there_are_no_others(case):
    options, count = COUNTED[case]
    what, views = Augmentation(**options), np.arange(4000) << REPETITION_BIT  # of one sample
    rows = torch.zeros(len(views), dtype=torch.int64)
    batch = what.apply(images(1), rows, rows, rows, what.plan(3, 2, views, SIZE))
    if case == "CIFAR's":  # in 12 pixels some of its crops are the mirror images of others
        large = torch.randint(256, (1, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
        batch = what.apply(large, rows, rows, rows, what.plan(3, 2, views, 32))
    pairs = {(image.numpy().tobytes(), number) for image, number in zip(batch.images, batch.view.tolist(), strict=True)}
    assert len({picture for picture, _ in pairs}) == len({number for _, number in pairs}) == len(pairs) == count
    assert {number for _, number in pairs} == set(range(count))
    assert what.num_views == count
    assert batch.view.dtype == torch.int64


def test_numbers_are_those_of_the_draws_in_32_bits_as_the_pictures_are():
    """The draw, found by search, is below one, but its nearest float32 is one."""
    plan = Augmentation(shift=1).plan(4, 17895, np.array([1]), SIZE)
    assert plan.draws["geometry"][0, 2] == 1
    assert plan.view.tolist()[0] < 9


def test_numbers_are_those_of_the_samples_whatever_part_of_a_plan():
    what, views = Augmentation(crop=2, flip=True), np.arange(COUNT) + (3 << REPETITION_BIT)
    plan = what.plan(5, 1, views, SIZE)
    np.testing.assert_array_equal(plan.on_host, [np.arange(COUNT), plan.view.numpy()])
    part = plan.part(slice(10, 14)).to(torch.device("cpu"))
    assert torch.equal(part.view, plan.view[10:14])
    np.testing.assert_array_equal(part.on_host, plan.on_host[:, 10:14])


@pytest.mark.parametrize(
    "options",
    [{"min_area": 0.9}, {"brightness": 0.1}, {"contrast": 0.1}, {"saturation": 0.1}, {"hue": 0.1}, {"policy": "rand"},
     {"policy": "trivial"}, {"erase": 0.1}, {"cutout": 2}, {"mixup": 0.1}, {"cutmix": 1.0}],
)  # fmt: skip
def test_what_is_not_counted_has_no_numbers(options):
    what = Augmentation(crop=1, **options)
    assert what.num_views is None
    assert what.endless == tuple(options)
    plan = what.plan(0, 0, np.arange(3), SIZE).part(slice(0, 2)).to(torch.device("cpu"))
    assert plan.view is None
    assert plan.on_host is None
    batch = what.apply(images(3), torch.arange(2), torch.arange(2), torch.arange(2), plan)
    assert batch.view is None
    assert batch.on_host is None


@pytest.mark.parametrize(
    ("options", "changes", "mixes"),
    [
        ({}, False, False),
        ({"min_area": 0.1}, False, False),
        ({"crop": 1}, True, False),
        ({"shift": 1}, True, False),
        ({"flip": True}, True, False),
        ({"flip": "alternate"}, True, False),
        ({"hue": 0.1}, True, False),
        ({"policy": "trivial"}, True, False),
        ({"erase": 0.1}, True, False),
        ({"cutout": 1}, True, False),
        ({"mixup": 0.2}, True, True),
        ({"cutmix": 1.0}, True, True),
    ],
)
def test_it_says_whether_there_is_anything_to_do(options, changes, mixes):
    assert Augmentation(**options).changes_batch is changes
    assert Augmentation(**options).mixes is mixes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": -1}, "data.augment.crop: must be at least 0; got -1"),
        ({"hue": 0.6}, r"data.augment.hue: must lie in 0..0.5; got 0.6"),
        ({"erase": 1.5}, "data.augment.erase"),
        ({"rand_magnitude": 31}, "data.augment.rand_magnitude"),
        ({"rand_operations": 0}, "data.augment.rand_operations"),
        ({"mixup": -0.1}, "data.augment.mixup"),
        ({"fill": (0, 0, 300)}, "data.augment.fill"),
        ({"min_area": -0.5}, "data.augment.min_area"),
    ],
)
def test_a_value_out_of_its_range_is_a_config_error(options, message):
    with pytest.raises(ConfigError, match=message):
        Augmentation(**options)


# ---- whatever the options

strength = st.one_of(st.just(0.0), st.floats(0, 1))
OF_ONE_IMAGE = {
    "crop": st.integers(0, 4), "shift": st.integers(0, 14), "flip": st.sampled_from([False, True, "alternate"]),
    "brightness": strength, "contrast": strength, "saturation": strength, "hue": st.floats(0, 0.5),
    "policy": st.sampled_from([None, "trivial", "rand"]), "rand_operations": st.integers(1, 3),
    "rand_magnitude": st.integers(0, 30), "erase": strength, "cutout": st.integers(0, 30),
    "fill": st.tuples(*[st.integers(0, 255)] * 3),
}  # fmt: skip
of_one_image = st.fixed_dictionaries({}, optional=OF_ONE_IMAGE).map(lambda options: Augmentation(**options))
views_of_some = st.lists(
    st.integers(0, COUNT - 1) | st.integers(0, COUNT - 1).map(lambda i: i + (3 << REPETITION_BIT)),
    min_size=1,
    max_size=9,
).map(np.array)
seeds, epochs = st.integers(0, 2**63), st.integers(0, 10**6)


@given(of_one_image, seeds, epochs, views_of_some)
def test_any_image_is_augmented_alike_alone_and_in_any_batch(what, seed, epoch, views):
    together = run(what, epoch, views, seed)
    assert together.dtype == torch.uint8
    assert together.shape == (len(views), SIZE, SIZE, 3)
    for row in range(len(views)):
        assert torch.equal(run(what, epoch, views[row : row + 1], seed)[0], together[row])


@given(seeds, epochs, views_of_some, st.sampled_from([False, "alternate"]))
def test_without_strength_nothing_changes(seed, epoch, views, flip):
    nothing = Augmentation(
        **dict.fromkeys(set(OF_ONE_IMAGE) - {"flip", "policy", "rand_operations", "rand_magnitude", "fill"}, 0)
    )
    still = images()[views & (2**REPETITION_BIT - 1)]
    assert torch.equal(run(nothing, epoch, views, seed), still)
    found = run(dataclasses.replace(nothing, flip=flip), epoch, views, seed)
    for image, original in zip(found, still, strict=True):
        assert torch.equal(image, original) or (flip and torch.equal(image, original.flip(1)))


alphas = st.just(0.0) | st.floats(0.001, 3)


@given(alphas, alphas, seeds, epochs, views_of_some)
def test_a_mixed_image_lies_between_the_two_and_says_how_much_of_each(mixup, cutmix, seed, epoch, views):
    what = Augmentation(mixup=mixup, cutmix=cutmix)
    rows = torch.from_numpy(views & (2**REPETITION_BIT - 1))
    batch = what.apply(images(), rows, rows, rows, what.plan(seed, epoch, views, SIZE))
    assert batch.images.dtype == torch.uint8
    if not what.mixes:
        assert batch.mixed is None
        return
    own, other = images()[rows].int(), images()[batch.mixed.labels].int()
    found = batch.images.permute(0, 2, 3, 1).int()
    assert (found >= torch.minimum(own, other)).all()
    assert (found <= torch.maximum(own, other)).all()
    share = batch.mixed.share[:, None, None, None]
    assert ((share >= 0) & (share <= 1)).all()
    # over all pixels together, the share says what they are of both
    expected = (share * own + (1 - share) * other).mean((1, 2, 3))
    tolerance = 0.5 if not cutmix else 256 * 2 / SIZE  # rounding; which pixels a box takes
    assert ((found.float().mean((1, 2, 3)) - expected).abs() <= tolerance).all()
