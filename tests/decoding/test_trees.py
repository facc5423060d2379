"""Trees of every kind, against indexing written out."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

from project.decoding.trees import expand_hypotheses, select_hypotheses, select_images, tree_map, tree_tensors


class State(NamedTuple):
    hidden: torch.Tensor
    cell: torch.Tensor | None


def tree_of(*tensors):
    one, two, three, four = tensors
    return {"lstm": State(one, None), "cache": [(two,), {}, [three]], 7: (None, four)}


def test_a_map_keeps_every_kind_of_tree():
    tensors = [torch.tensor(float(i)) for i in range(4)]
    tree = tree_of(*tensors)
    doubled = tree_map(lambda tensor: 2 * tensor, tree)
    assert doubled == tree_of(*(2 * tensor for tensor in tensors))
    assert type(doubled["lstm"]) is State
    assert type(doubled["cache"]) is list
    assert type(doubled["cache"][0]) is tuple
    assert all(one is other for one, other in zip(tree_tensors(tree), tensors, strict=True))
    assert tree_map(torch.neg, None) is None
    assert list(tree_tensors((None, [], {}))) == []


def test_what_is_no_tree_is_refused():
    with pytest.raises(TypeError, match=r"^a tree holds tensors, None, tuples, lists and dicts; got str$"):
        tree_map(torch.neg, ["text"])


@pytest.mark.parametrize(("rows", "width"), [(3, 3), (1, 4), (3, 2)])
def test_hypotheses_are_taken_within_their_image(rows, width):
    generator = torch.Generator().manual_seed(0)
    shapes = [(5, rows), (5, rows, 2), (5, rows, 2, 3), (5, rows, 0)]
    tensors = [torch.randn(shape, generator=generator) for shape in shapes]
    tensors[2] = tensors[2].transpose(2, 3)  # memory of any layout
    parents = torch.randint(rows, (5, width), generator=generator)
    taken = select_hypotheses(tree_of(*tensors), parents)
    for before, after in zip(tensors, tree_tensors(taken), strict=True):
        expected = torch.stack([torch.stack([before[b, p] for p in parents[b]]) for b in range(5)])
        assert torch.equal(after, expected)


def test_tensors_of_different_widths_in_one_tree():
    one, three = torch.arange(2)[:, None], torch.arange(6).view(2, 3)
    parents = torch.zeros(2, 2, dtype=torch.int64)
    assert [t.tolist() for t in select_hypotheses((one, three), parents)] == [[[0, 0], [1, 1]], [[0, 0], [3, 3]]]


def test_images_are_taken_whole():
    tensors = [torch.randn(4, 2), torch.randn(4, 1, 3), torch.randn(4), torch.randn(4, 0)]
    images = torch.tensor([2, 0])
    for before, after in zip(tensors, tree_tensors(select_images(tree_of(*tensors), images)), strict=True):
        assert torch.equal(after, before[[2, 0]])


def test_expanded_hypotheses_have_memory_of_their_own():
    tensors = [torch.randn(4, 1), torch.randn(4, 1, 3), torch.randn(4, 1, 2, 2), torch.randn(4, 1, 0)]
    expanded = list(tree_tensors(expand_hypotheses(tree_of(*tensors), 3)))
    for before, after in zip(tensors, expanded, strict=True):
        assert torch.equal(after, torch.cat([before] * 3, dim=1))
    before = tensors[1].clone()
    expanded[1][0, 1] += 1
    assert torch.equal(expanded[1][0, 2], before[0, 0])
    assert torch.equal(tensors[1], before)
