"""Trees of tensors, such as a decoder's state: tuples, NamedTuples, lists and dicts of tensors, None or further ones.

Shapes: B images, R and W hypotheses of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor

Tree: TypeAlias = Any  # Tensor | None | tuple[Tree, ...] | list[Tree] | dict[Any, Tree]


def tree_map(function: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """The same tree with `function(tensor)` in each tensor's place."""
    if tree is None:
        return None
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {key: tree_map(function, child) for key, child in tree.items()}
    if isinstance(tree, tuple | list):
        children = [tree_map(function, child) for child in tree]
        return type(tree)(*children) if hasattr(tree, "_fields") else type(tree)(children)
    raise TypeError(f"a tree holds tensors, None, tuples, lists and dicts; got {type(tree).__name__}")


def tree_tensors(tree: Tree) -> Iterator[Tensor]:
    """Every tensor of a tree, in order."""
    found: list[Tensor] = []

    def find(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    tree_map(find, tree)
    return iter(found)


def select_hypotheses(tree: Tree, parents: Tensor) -> Tree:
    """From (B, R, ...) to (B, W, ...): `parents` (B, W) int64 in 0..R-1 are the ones to take of each image."""
    rows: dict[int, Tensor] = {}

    def select(tensor: Tensor) -> Tensor:
        width = tensor.shape[1]
        if width not in rows:
            firsts = torch.arange(0, len(parents) * width, width, device=parents.device)
            rows[width] = (parents + firsts[:, None]).flatten()
        # whole rows: several times as fast as a gather, which looks up every number
        return tensor.flatten(0, 1).index_select(0, rows[width]).unflatten(0, parents.shape)

    return tree_map(select, tree)


def select_images(tree: Tree, images: Tensor) -> Tree:
    """From (B, ...) to (len(images), ...): `images` int64 are the ones to take."""
    return tree_map(lambda tensor: tensor.index_select(0, images), tree)


def expand_hypotheses(tree: Tree, width: int) -> Tree:
    """From (B, 1, ...) to (B, W, ...): copies, which a step may write into."""
    return tree_map(lambda tensor: tensor.expand(-1, width, *tensor.shape[2:]).contiguous(), tree)
