"""Augmentation of a whole batch with parameters drawn per sample, on the device that holds the images.

torchvision's v2 transforms draw one set of parameters for a whole batch; here each image has its own. What is drawn is
a function of (seed, epoch, view): see `project.data.draws`.

Shapes: N stored images or views, B in the batch, S × S pixels, R rounds of image operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from project.data.augmentation import erasing, geometry, mixing, policies
from project.data.augmentation.operations import apply_operations
from project.data.batch import Batch
from project.data.draws import uniforms
from project.data.order import REPEAT_BIT, REPETITION_BIT, index_of
from project.errors import ConfigError

# the first column of each step's random numbers: switching one step on leaves the numbers of the others as they are
_GEOMETRY, _BOX, _JITTER, _ERASE, _CUTOUT, _MIX, _POLICY = 0, 5, 9, 17, 22, 24, 28
BOX_DRAWS = 4  # of the random resized crop: area, aspect ratio, top, left


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training image, in this order, drawn anew for each sample and epoch.

    Args:
        min_area: below 1, a random resized crop (share of the area between this and 1, aspect ratio 3/4 to 4/3;
            Szegedy et al. 2015, arXiv:1409.4842) takes the place of the central square. Streamed images only, since
            stored ones are squares already.
        crop: pixels of reflect padding on each side before a random crop back to S × S.
        shift: largest shift in pixels along each axis; the border pixel is repeated into the gap.
        flip: whether to mirror left and right with probability 1/2; `alternate` draws once for each sample and then
            mirrors it in every other epoch, so that two epochs show both (Jordan 2024, arXiv:2404.00498, section 3.4).
        brightness: jitter: a factor between 1 - this and 1 + this. The four are applied in random order.
        contrast: likewise.
        saturation: likewise.
        hue: jitter: a turn of the colour circle between -this and this, at most 0.5.
        policy: `trivial` is TrivialAugmentWide (Müller and Hutter 2021, arXiv:2103.10158), one operation of random
            strength an image; `rand` is RandAugment (Cubuk et al. 2019, arXiv:1909.13719).
        rand_operations: RandAugment's operations an image.
        rand_magnitude: their strength, 0 to 30.
        erase: probability of random erasing (Zhong et al. 2017, arXiv:1708.04896).
        cutout: side in pixels of the square that is erased from every image (DeVries and Taylor 2017,
            arXiv:1708.04552).
        fill: the colour of what is erased; ImageNet's mean by default.
        mixup: above 0, MixUp with shares from Beta(this, this) (Zhang et al. 2017, arXiv:1710.09412).
        cutmix: likewise CutMix (Yun et al. 2019, arXiv:1905.04899); of both, each image gets either with
            probability 1/2.

    Raises:
        ConfigError: a value is out of its range.
    """

    min_area: float = 1.0
    crop: int = 0
    shift: int = 0
    flip: bool | Literal["alternate"] = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    policy: Literal["trivial", "rand"] | None = None
    rand_operations: int = 2
    rand_magnitude: int = 9
    erase: float = 0.0
    cutout: int = 0
    fill: tuple[int, int, int] = (124, 116, 104)
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("min_area", 0, 1), ("crop", 0, None), ("shift", 0, None), ("brightness", 0, None), ("contrast", 0, None),
            ("saturation", 0, None), ("hue", 0, 0.5), ("rand_operations", 1, None), ("rand_magnitude", 0, 30),
            ("erase", 0, 1), ("cutout", 0, None), ("mixup", 0, None), ("cutmix", 0, None),
        ):  # fmt: skip
            value = getattr(self, name)
            if value < low or (high is not None and value > high):
                limits = f"lie in {low}..{high}" if high is not None else f"be at least {low}"
                raise ConfigError(f"data.augment.{name}: must {limits}; got {value}")
        if min(self.fill) < 0 or max(self.fill) > 255:
            raise ConfigError(f"data.augment.fill: three numbers in 0..255; got {list(self.fill)}")

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with each other."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def _moves_pixels(self) -> bool:
        return bool(self.crop or self.shift or self.flip)

    @property
    def _jitter(self) -> tuple[float, float, float, float]:
        return self.brightness, self.contrast, self.saturation, self.hue

    @property
    def changes_batch(self) -> bool:
        """Whether `apply` does anything; the random resized crop is done where files are decoded."""
        return bool(self._moves_pixels or any(self._jitter) or self.policy or self.erase or self.cutout or self.mixes)

    @property
    def endless(self) -> tuple[str, ...]:
        """The options that make ever new pictures of a sample."""
        given = {"min_area": self.min_area < 1, "policy": self.policy is not None}
        names = ("brightness", "contrast", "saturation", "hue", "erase", "cutout", "mixup", "cutmix")
        given |= {name: getattr(self, name) > 0 for name in names}
        return tuple(name for name, there in given.items() if there)

    @property
    def num_views(self) -> int | None:
        """How many pictures of a sample there can be, where pixels are only moved by whole numbers: crop, shift, flip.

        Two of them are alike only where the crop or the shift reaches over half of the image.
        """
        return None if self.endless else geometry.num_views(self.crop, self.shift, self.flip is not False)

    def box_draws(self, seed: int, epoch: int, view: int) -> np.ndarray:
        """The random numbers of one view's random resized crop, (4,) float64 in [0, 1)."""
        return uniforms(seed, epoch, np.array([view]), BOX_DRAWS, _BOX)[0]

    def plan(self, seed: int, epoch: int, views: np.ndarray, image_size: int) -> Plan:
        """What will be done to each of `views`, (N,) int64, in this epoch.

        Args:
            seed: of the run.
            epoch: its number.
            views: as `TrainingOrder` gives them.
            image_size: S; some operations have their strength in pixels.
        """
        drawn: dict[str, np.ndarray] = {}
        if self._moves_pixels:
            drawn["geometry"] = uniforms(seed, epoch, views, geometry.NUM_DRAWS, _GEOMETRY)
            if self.flip == "alternate":
                first = uniforms(seed, 0, index_of(views), 1, _GEOMETRY + 4)[:, 0] < 0.5
                turn = (epoch + (views >> REPETITION_BIT) + (views >> REPEAT_BIT)) % 2 == 1
                drawn["geometry"][:, 4] = np.where(first ^ turn, 0.0, 0.5)
        if self.erase:
            drawn["erase"] = uniforms(seed, epoch, views, erasing.ERASE_DRAWS, _ERASE)
        if self.cutout:
            drawn["cutout"] = uniforms(seed, epoch, views, erasing.CUTOUT_DRAWS, _CUTOUT)
        if self.mixes:
            drawn["mix"] = uniforms(seed, epoch, views, mixing.MIX_DRAWS, _MIX)
            drawn["mix"][:, 1] = self._shares(drawn["mix"])
        rounds = []
        if any(self._jitter):
            rounds.append(
                policies.color_jitter(uniforms(seed, epoch, views, policies.JITTER_DRAWS, _JITTER), *self._jitter)
            )
        if self.policy == "trivial":
            rounds.append(policies.trivial_augment_wide(uniforms(seed, epoch, views, policies.TRIVIAL_DRAWS, _POLICY)))
        elif self.policy == "rand":
            count = policies.RAND_DRAWS * self.rand_operations
            draws = uniforms(seed, epoch, views, count, _POLICY)
            rounds.append(policies.rand_augment(draws, self.rand_operations, self.rand_magnitude, image_size))
        operations, magnitudes = (np.concatenate(part, 1) for part in zip(*rounds, strict=True)) if rounds else (
            np.empty((len(views), 0), np.int8), np.empty((len(views), 0), np.float32))  # fmt: skip
        tensors = {name: torch.from_numpy(values.astype(np.float32)) for name, values in drawn.items()}
        plan = Plan(tensors, operations, torch.from_numpy(magnitudes))
        if self.num_views is None:
            return plan
        view = torch.zeros(len(views), dtype=torch.int64)
        if self._moves_pixels:
            view = geometry.view_numbers(tensors["geometry"], self.crop, self.shift, self.flip is not False)
        return plan._replace(view=view, on_host=np.stack([index_of(views), view.numpy()]))

    @property
    def _cutmix_share(self) -> float:
        return 0.5 if self.mixup and self.cutmix else float(self.cutmix > 0)

    def _shares(self, draws: np.ndarray) -> np.ndarray:
        shares = [mixing.beta(draws[:, 1], alpha) if alpha else draws[:, 1] for alpha in (self.mixup, self.cutmix)]
        return np.where(draws[:, 0] < self._cutmix_share, shares[1], shares[0])

    def apply(self, images: Tensor, rows: Tensor, labels: Tensor, indices: Tensor, plan: Plan) -> Batch:
        """Makes a batch of `images[rows]` as planned.

        Args:
            images: (N, S, S, 3) uint8.
            rows: (B,) int64, which of them.
            labels: (B,) int64.
            indices: (B,) int64, for the batch.
            plan: of these B views, on the images' device.

        Returns:
            The batch, its images stored channels-last.
        """
        if self._moves_pixels:
            pixels = geometry.move_pixels(
                images, rows, plan.draws["geometry"], self.crop, self.shift, self.flip is not False
            )
        else:
            pixels = images.index_select(0, rows)
        for operations, magnitudes in zip(plan.operations.T, plan.magnitudes.unbind(1), strict=True):
            pixels = apply_operations(pixels, operations, magnitudes)
        if self.erase:
            pixels = erasing.random_erase(pixels, plan.draws["erase"], self.erase, self.fill)
        if self.cutout:
            pixels = erasing.cutout(pixels, plan.draws["cutout"], self.cutout, self.fill)
        mixed = None
        if self.mixes:
            pixels, mixed = mixing.mix(pixels, labels, plan.draws["mix"], self._cutmix_share)
        return Batch(pixels.permute(0, 3, 1, 2), labels, indices, mixed, plan.view, plan.on_host)


class Plan(NamedTuple):
    """What is done to each view of an epoch or of a batch.

    draws: by step, (N, P) float32 uniform numbers in [0, 1], the mixing shares among them.
    operations: (N, R) int8, which image operation in each round; on the host, so that grouping a batch by operation
        does not wait for the device.
    magnitudes: (N, R) float32, how strong.
    view: (N,) int64, the number of the picture, where `Augmentation.num_views` counts them.
    on_host: (2, N) int64, the samples' indices and `view`, on the host; likewise.
    """

    draws: dict[str, Tensor]
    operations: np.ndarray
    magnitudes: Tensor
    view: Tensor | None = None
    on_host: np.ndarray | None = None

    def to(self, device: torch.device) -> Plan:
        """With its tensors on `device`."""
        draws = {name: values.to(device, non_blocking=True) for name, values in self.draws.items()}
        view = None if self.view is None else self.view.to(device, non_blocking=True)
        return Plan(draws, self.operations, self.magnitudes.to(device, non_blocking=True), view, self.on_host)

    def part(self, views: slice) -> Plan:
        """The plan of some of the views."""
        draws = {name: values[views] for name, values in self.draws.items()}
        part = Plan(draws, self.operations[views], self.magnitudes[views])
        if self.view is None or self.on_host is None:
            return part
        return part._replace(view=self.view[views], on_host=self.on_host[:, views])
