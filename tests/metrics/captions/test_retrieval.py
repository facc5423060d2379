"""Retrieval ranks against sorting in plain Python."""

from __future__ import annotations

import statistics

import pytest
import torch

from project.metrics.captions import retrieval_scores


@pytest.mark.parametrize("seed", range(5))
def test_it_equals_sorting(seed):
    generator = torch.Generator().manual_seed(seed)
    image_of_caption = torch.arange(30).repeat_interleave(3)[torch.randperm(90, generator=generator)]
    similarities = torch.randn(30, 90, generator=generator)
    similarities[image_of_caption, torch.arange(90)] += 1.5
    scores = retrieval_scores(similarities, image_of_caption)

    to_text, to_image = [], []
    for image, row in enumerate(similarities.tolist()):
        order = sorted(range(90), key=lambda caption: -row[caption])
        to_text.append(1 + next(i for i, caption in enumerate(order) if image_of_caption[caption] == image))
    for caption, column in enumerate(similarities.T.tolist()):
        order = sorted(range(30), key=lambda image: -column[image])
        to_image.append(1 + order.index(image_of_caption[caption]))
    for direction, ranks in (("image_to_text", to_text), ("text_to_image", to_image)):
        for cutoff in (1, 5, 10):
            expected = sum(rank <= cutoff for rank in ranks) / len(ranks)
            assert scores[f"{direction}_recall_{cutoff}"] == pytest.approx(expected)
        assert scores[f"{direction}_median_rank"] == statistics.median(ranks)


def test_equal_similarities_are_no_success():
    scores = retrieval_scores(torch.ones(20, 20), torch.arange(20))
    assert scores["image_to_text_recall_10"] == scores["text_to_image_recall_10"] == 0
    assert scores["text_to_image_median_rank"] == 20
