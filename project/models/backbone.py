"""The one interface of every image network: named stages, feature maps, pooled features, logits.

Shapes: B images, C channels, h × w the size of a feature map, D pooled features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Size = tuple[int, int, int]
"""(C, h, w)"""


class Backbone(nn.Module):
    """A network as a chain of named stages, a pool and a linear classifier.

    A classifier uses `forward`; a captioner attends over `feature_maps`; a distiller compares `forward_stages`, or takes
    everything of one pass from `forward_with_stages`. Modules between the ends of stages can be looked at by `watch`.

    Args:
        stages: the convolutional part, in order; each maps (B, C, h, w) to (B, C', h', w'). Where something else travels
            between them (tokens), a subclass says in `as_map` how a map is made of it.
        pool: maps what the last stage gives to (B, D).
        num_features: D.
        num_classes: K.
        head: from (B, D) to (B, K); a new one by default.
        note: what was chosen when the network was built that its user may not expect, in one line.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        pool: nn.Module,
        num_features: int,
        num_classes: int,
        head: nn.Linear | None = None,
        note: str = "",
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.pool = pool
        self.head = nn.Linear(num_features, num_classes) if head is None else head
        self.num_features = num_features
        self.num_classes = num_classes
        self.note = note
        self._watched: set[str] = set()
        self._inside: dict[str, Tensor] | None = None  # while a pass is being watched

    def initialize_from(self, batches: Iterable[Tensor]) -> None:
        """Computes the weights that follow from the training images, where a network has any.

        Args:
            batches: of images (B, 3, H, W) float, normalised; nothing is read unless it is asked for.
        """

    def as_map(self, x: Tensor) -> Tensor:
        """What a stage gives, as (B, C, h, w)."""
        return x

    def forward_stages(self, images: Tensor) -> dict[str, Tensor]:
        """Every stage's output by its name, in order, and then what is watched. `images` is (B, 3, H, W) float, normalised."""
        return self._watched_walk(images)[0]

    def forward_with_stages(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """`forward_stages`, `features` and `forward` of one pass."""
        outputs, last = self._watched_walk(images)
        return outputs, *self._classify(last)

    def feature_maps(self, images: Tensor) -> Tensor:
        """The last stage's output, (B, C, h, w)."""
        return self.as_map(self._last(images))

    def features(self, images: Tensor) -> Tensor:
        """Pooled features, (B, D)."""
        return self.pool(self._last(images))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (B, K)."""
        return self._classify(self._last(images))[1]

    def _walk(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        outputs = {}
        for name, stage in self.stages.items():
            x = stage(x)
            outputs[name] = self.as_map(x)
        return outputs, x

    def _watched_walk(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        self._inside = {}
        outputs, last = self._walk(x)
        inside, self._inside = self._inside, None
        return {**outputs, **inside}, last

    def _last(self, x: Tensor) -> Tensor:
        for stage in self.stages.values():
            x = stage(x)
        return x

    def _classify(self, last: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits."""
        features = self.pool(last)
        return features, self.head(features)

    def map_classifier(self, head: nn.Linear) -> nn.Module | None:
        """What makes logits of `feature_maps`, (B, C, h, w), or nothing where a map does not hold all that they need.

        Args:
            head: this network's, or one like it.
        """
        kind = type(self)
        chained = kind.as_map is Backbone.as_map and kind._classify is Backbone._classify  # other kinds give their own
        return nn.Sequential(self.pool, head) if chained else None

    def watch(self, paths: Iterable[str]) -> None:
        """Lets `forward_stages` and `forward_with_stages` give what modules inside the network give, too, by their paths.

        Of a module that is called several times in a pass, it is what the last call gives; it is a copy, which layers
        that work in place do not change.

        Args:
            paths: of `all_shapes`, such as "stages.layer2.0.conv1".
        """
        for path in set(paths) - self._watched:
            self.get_submodule(path).register_forward_hook(partial(self._keep, path))
            self._watched.add(path)

    def _keep(self, path: str, module: nn.Module, args: Any, output: Tensor) -> None:
        if self._inside is not None:
            self._inside[path] = self._inner_map(output).clone()

    def _inner_map(self, output: Tensor) -> Tensor:
        """What a module inside gives, as (B, C, h, w)."""
        return output if output.dim() == 4 else self.as_map(output)

    def stage_shapes(self, image_size: int) -> dict[str, Size]:
        """(C, h, w) of every stage for square images of `image_size` pixels; found by running some."""
        return self.all_shapes(image_size)[0]

    @torch.no_grad()
    def map_shape(self, image_size: int) -> Size:
        """(C, h, w) of `feature_maps` for square images of `image_size` pixels; found by running one.

        It may differ from the last stage's: timm's EfficientNet, for one, has a convolution after that.
        """
        was_training = self.training
        found = self.eval().feature_maps(self.head.weight.new_zeros(1, 3, image_size, image_size))
        self.train(was_training)
        return _size(found)

    @torch.no_grad()
    def all_shapes(self, image_size: int) -> tuple[dict[str, Size], dict[str, Size]]:
        """`stage_shapes`, and by its path (C, h, w) of what every module inside the network gives, where that is a map.

        Layers that work on (B, h, w, C), as in torchvision's Swin, give such maps.
        """
        modules: dict[str, Size] = {}
        count = 2  # images: what is not of each of them, such as attention's windows, is no map

        def note(path: str, module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() in (3, 4) and len(output) == count:
                with suppress(RuntimeError):  # tokens that fill no square
                    found = self._inner_map(output)
                    if found.dim() == 4:
                        modules[path] = _size(found)

        hooks = [m.register_forward_hook(partial(note, path)) for path, m in self.named_modules() if path]
        was_training = self.training
        stages, _ = self.eval()._walk(self.head.weight.new_zeros(count, 3, image_size, image_size))
        self.train(was_training)
        for hook in hooks:
            hook.remove()
        return {name: _size(stage) for name, stage in stages.items()}, modules

    def freeze_unused(self, image_size: int, outputs: Callable[[Tensor], Iterable[Tensor]]) -> None:
        """Takes out of training what no output depends on: several processes would wait for its gradient.

        It is read off the graph of one pass, since names do not tell: timm's networks, for one, have the weights of
        their pooling among those of their trunk.

        Args:
            image_size: pixels of a side.
            outputs: what of the network is used, computed from images (B, 3, S, S) float, normalised.
        """
        was_training = self.training
        self.eval()
        with torch.enable_grad():
            used = _leaves(outputs(self.head.weight.new_zeros(1, 3, image_size, image_size)))
        self.train(was_training)
        for parameter in self.parameters():
            if id(parameter) not in used:
                parameter.requires_grad_(False)


def _size(x: Tensor) -> Size:
    return x.shape[1], x.shape[2], x.shape[3]


def _leaves(outputs: Iterable[Tensor]) -> set[int]:
    """The ids of the tensors that backward would give a gradient."""
    found: set[int] = set()
    waiting: list[Any] = [output.grad_fn for output in outputs]
    seen = {None}
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend(earlier for earlier, _ in node.next_functions)
            if hasattr(node, "variable"):
                found.add(id(node.variable))
    return found
