"""Files of captions: those of the split, with the ids of its annotations, as the scores read them again."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from project.analysis.caption_scores import read_predictions, read_references, score_captions
from project.data.captions.samples import CaptionedSamples
from project.metrics.captions import CaptionScores
from project.tasks.caption_results import caption_files

REFERENCES = [["a dog", "The dog B."], ["A cat"], ["no."], ["5 birds"]]
CAPTIONS = ["a dog b.", "A cat", "no.", "5 dogs"]


def files(ids, images=None, stage="test", places=range(4)):
    images = [Path(f"/set/images/{n}.png") for n in range(4)] if images is None else images
    samples = CaptionedSamples.of(images, REFERENCES, "test", root=Path("/set"), ids=ids)
    scores = CaptionScores()
    scores.update([CAPTIONS[n] for n in places], [REFERENCES[n] for n in places], places)
    return caption_files(scores.captions(), SimpleNamespace(splits={"val": samples}), stage), scores


@pytest.mark.parametrize("ids", [[40, 3, 200, 1], ["d", "c", "b", "a"]])
def test_files_of_an_evaluation_have_its_scores_and_its_ids(ids, tmp_path):
    content, scores = files(ids)
    for name, part in content.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
    assert content["captions"][1] == {"image_id": ids[1], "caption": "A cat"}
    assert content["references"]["images"][3] == {"id": ids[3], "file_name": "images/3.png"}
    references = read_references(tmp_path / "references.json")
    predictions = read_predictions(tmp_path / "captions.json")
    assert list(references.captions) == list(predictions) == ids
    assert score_captions(predictions, references) == pytest.approx(scores.compute())


def test_images_without_ids_are_known_by_their_path_or_their_place():
    assert [each["image_id"] for each in files(None)[0]["captions"]] == [f"images/{n}.png" for n in range(4)]
    content, _ = files(None, np.zeros((4, 2, 2, 3), np.uint8))
    assert [each["image_id"] for each in content["captions"]] == [0, 1, 2, 3]
    assert content["references"]["images"][2] == {"id": 2}


def test_one_image_is_noted_and_data_of_another_kind_have_no_files(caplog):
    with caplog.at_level(logging.INFO):
        content, _ = files([7, 8, 9, 10], places=[2])
    assert content["captions"] == [{"image_id": 9, "caption": "no."}]
    assert "test: cider_d is 0 because one image alone was scored" in caplog.text
    assert caption_files(files(None)[1].captions(), SimpleNamespace(), "test") == {}
