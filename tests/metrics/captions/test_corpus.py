"""What caption metrics keep: text, once, whichever process and batch it came in."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchmetrics import MetricCollection

from project.metrics.captions import BLEU, ROUGEL, CaptionDiversity, CaptionMetric, CIDErD, ExactMatch

CLASSES = (BLEU, ROUGEL, CIDErD, ExactMatch)
# two captions end with a letter whose dot depends on the next one
PREDICTIONS = ["a dog on grass", "a cat sleeps B.", "A two men play chess", ""]
REFERENCES = [["a dog lies on the grass", "a dog B."], ["A cat sleeps"], ["men play chess .", "two men"], ["a car"]]


def updated(metric: CaptionMetric, start: int = 0, end: int = 4, ids: bool = True) -> CaptionMetric:
    metric.update(PREDICTIONS[start:end], REFERENCES[start:end], list(range(start, end)) if ids else None)
    return metric


@pytest.mark.parametrize("metric_class", CLASSES)
def test_batches_of_any_size_give_the_same(metric_class):
    parts = metric_class()
    for place in range(4):
        updated(parts, place, place + 1)
    assert torch.equal(parts.compute(), updated(metric_class()).compute())


@pytest.mark.parametrize("metric_class", CLASSES)
def test_an_id_that_comes_again_counts_once(metric_class):
    metric = updated(updated(metric_class()), 1, 3)
    metric.update(["something else"], [["another caption"]], [0])
    assert torch.equal(metric.compute(), updated(metric_class()).compute())
    assert list(metric.per_image()) == [0, 1, 2, 3]


def test_without_ids_every_image_is_another_one():
    metric = updated(updated(ExactMatch(), ids=False), ids=False)
    assert list(metric.per_image()) == list(range(8))


def test_some_may_have_ids_and_others_none():
    metric = updated(updated(ExactMatch(), end=2, ids=True), start=2, ids=False)
    assert metric.corpus().ids == [0, 1, 2, 3]
    assert metric.corpus().predictions == updated(ExactMatch()).corpus().predictions


def test_a_number_and_a_text_are_different_ids():
    metric = ExactMatch()
    metric.update(["a", "b"], [["a"], ["c"]], [1, "1"])
    assert {key: value.item() for key, value in metric.per_image().items()} == {1: 1.0, "1": 0.0}


def test_the_order_in_which_images_come_leaves_the_last_bit_alone(random_captions):
    predictions, references = random_captions[-1]
    found = set()
    for seed in range(5):
        order = random.Random(seed).sample(range(len(predictions)), len(predictions))
        metric = CIDErD(tokenize=str.split)
        metric.update([predictions[i] for i in order], [references[i] for i in order], order)
        found.add(metric.compute().item())
    assert len(found) == 1


def test_the_state_is_no_larger_than_the_text():
    metric = updated(CIDErD())
    text = sum(len(caption) + 1 for captions in [PREDICTIONS, *REFERENCES] for caption in captions)
    ids_and_ends = 2 * len(PREDICTIONS) + len(PREDICTIONS)
    assert sum(record.nbytes for record in metric.records) <= text + ids_and_ends


def test_any_character_in_a_caption_stays():
    text = "a\x1eb\x1fc\x1c\u00fe\u00ff\x00 \U0010ffff"
    metric = ExactMatch(tokenize=lambda caption: [caption])
    metric.update([text, "d"], [[text, "x"], ["d"]], [0, 1])
    assert metric.corpus() == ([0, 1], [text, "d"], [[text, "x"], ["d"]])


def test_captions_are_read_together_in_the_order_of_their_ids():
    predictions = ["vitamin C.", "the cat", "The dog", "no."]
    references = [["plan B."], ["A dog", "group D."], ["<b> x", "no."], ["5 dogs"]]
    metric = CIDErD()
    for place in (2, 3, 1, 0):  # 2 comes before 10, and 30 before "4"
        metric.update(predictions[place : place + 1], references[place : place + 1], [[2, 10, 30, "4"][place]])
    assert metric.corpus() == (
        [2, 10, 30, "4"],
        ["vitamin c.", "the cat", "the dog", "no"],
        [["plan b"], ["a dog", "group d"], ["<b> x", "no."], ["5 dogs"]],
    )
    unordered = CIDErD()
    unordered.update(predictions[::2], references[::2])
    assert unordered.corpus().predictions == ["vitamin c", "the dog"]


def test_exact_match_and_diversity_leave_neighbours_out():
    predictions, references = ["the letter c.", "a b c."], [["The letter C."], ["A B C."]]
    for metric in (ExactMatch(), CaptionDiversity()):
        metric.update(predictions, references)
        assert metric.corpus() == ([0, 1], ["the letter c.", "a b c."], [["the letter c."], ["a b c."]])


def test_half_a_character_does_no_harm():
    metric = ExactMatch(tokenize=str.split)
    metric.update([json.loads('"a \\ud83d b"')], [["a b"]])
    assert metric.compute().item() == 0


def test_another_tokeniser_can_be_given():
    metric = ExactMatch(tokenize=list)
    metric.update(["ab"], [["a b"]])
    assert metric.compute().item() == 0
    metric.update(["猫が"], [["猫が"]])
    assert metric.compute().item() == 0.5


def test_metrics_of_one_collection_share_the_text():
    metrics = MetricCollection([metric_class() for metric_class in CLASSES])
    updated(metrics)
    updated(metrics, 0, 2)
    assert len(metrics.compute_groups) == 1
    for metric_class in CLASSES:
        assert torch.equal(metrics.compute()[metric_class.__name__], updated(metric_class()).compute())


def test_it_forgets():
    metric = updated(CIDErD())
    metric.reset()
    metric.update([], [], [])
    assert metric.compute().isnan()
    assert torch.equal(updated(metric).compute(), updated(CIDErD()).compute())


def test_what_does_not_fit_together_is_refused():
    metric = BLEU()
    with pytest.raises(ValueError, match="2 predictions, 1 lists of references and 2 ids"):
        metric.update(["a", "b"], [["a"]])
    with pytest.raises(ValueError, match="image 7 has no reference"):
        metric.update(["a"], [[]], [7])
    with pytest.raises(TypeError, match="got one string"):
        metric.update(["a"], ["a caption"])


PROCESS = """
import json, sys
import torch
from project.metrics.captions import BLEU, CIDErD, ExactMatch, ROUGEL

rank, folder, predictions, references, shares = int(sys.argv[1]), sys.argv[2], *map(json.loads, sys.argv[3:])
torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
results = {}
for share in shares:
    for metric_class in (BLEU, ROUGEL, CIDErD, ExactMatch):
        metric = metric_class()
        own = share[rank]
        metric.update([predictions[i] for i in own], [references[i] for i in own], own)
        value = metric.compute()
        images = {key: score.tolist() for key, score in metric.per_image().items()}
        assert sorted(metric.corpus().ids) == sorted(set(own)), "afterwards each process has its own again"
        results[f"{metric_class.__name__} {share}"] = [value.tolist(), images]
with open(f"{folder}/{rank}.json", "w") as file:
    json.dump(results, file)
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tmp_path):
    shares = [[[0, 2], [1, 3]], [[0, 1, 2], [2, 3, 0]], [[0, 1, 2, 3], []], [[], [3, 2, 1, 0]]]
    root = Path(__file__).parents[3]
    arguments = [json.dumps(value) for value in (PREDICTIONS, REFERENCES, shares)]
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(rank), tmp_path, *arguments], cwd=root)
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    for rank in range(2):
        results = json.loads((tmp_path / f"{rank}.json").read_text())
        assert len(results) == len(shares) * len(CLASSES)
        for metric_class in CLASSES:
            alone = updated(metric_class())
            images = {str(key): score.tolist() for key, score in alone.per_image().items()}
            for share in shares:
                assert results[f"{metric_class.__name__} {share}"] == [alone.compute().tolist(), images]
