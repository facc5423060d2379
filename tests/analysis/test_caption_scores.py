"""Files of captions and results: what is read, and one line for each way in which it can be wrong."""

from __future__ import annotations

import json

import pytest

from project.analysis.caption_scores import read_predictions, read_references, score_captions
from project.errors import ConfigError, DataError
from project.metrics.captions import CaptionScores

COCO = {
    "images": [{"id": 42, "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}],
    "annotations": [
        {"image_id": 7, "id": 1, "caption": "A cat sleeps."},
        {"image_id": 42, "id": 2, "caption": "A dog runs."},
        {"image_id": 42, "id": 3, "caption": "The dog is running."},
    ],
}
COCO_CAPTIONS = {42: ["A dog runs.", "The dog is running."], 7: ["A cat sleeps."]}
KARPATHY = {
    "images": [
        {"split": "test", "cocoid": 42, "imgid": 0, "sentences": [{"raw": "A dog runs."}, {"tokens": ["the", "dog"]}]},
        {"split": "train", "imgid": 1, "sentences": [{"raw": "A bird."}]},
        {"split": "restval", "imgid": 2, "sentences": [{"raw": "A bear."}]},
        {"split": "test", "imgid": 3, "sentences": [{"raw": "A cat."}]},
    ],
    "dataset": "mine",
}
RESULTS = [{"image_id": 42, "caption": "a dog runs"}, {"image_id": 7, "caption": "a dog sleeps"}]


@pytest.fixture
def file(tmp_path):
    def write(content: object, name: str = "file.json") -> str:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def test_cocos_captions_are_read(file):
    references = read_references(file(COCO))
    assert references.captions == COCO_CAPTIONS
    assert references.training is None


def test_one_split_of_karpathys_is_read_and_the_training_captions(file):
    references = read_references(file(KARPATHY))
    assert references.captions == {42: ["A dog runs.", "the dog"], 3: ["A cat."]}
    assert references.training == ["A bird.", "A bear."]
    assert read_references(file(KARPATHY), "train").captions == {1: ["A bird."]}


def test_scores_are_those_of_the_metrics(file):
    scores = score_captions(read_predictions(file(RESULTS)), read_references(file(COCO, "references.json")))
    expected = CaptionScores()
    expected.update(["a dog runs", "a dog sleeps"], [COCO_CAPTIONS[42], COCO_CAPTIONS[7]], [42, 7])
    assert scores == pytest.approx(expected.compute(), nan_ok=True)
    assert {"bleu_1", "bleu_4", "rouge_l", "cider_d", "distinct_1", "mean_length"} <= scores.keys()


def test_novel_captions_are_told_from_a_karpathy_files_own_training_split(file):
    references = read_references(file(KARPATHY))
    assert score_captions({42: "a bird", 3: "a cat"}, references)["novel_captions"] == 0.5


def test_a_subset_can_be_scored(file):
    references = read_references(file(COCO))
    with pytest.raises(DataError, match=r"1 of 2 images have none, first 7; add them, or .* --subset"):
        score_captions({42: "a dog"}, references)
    assert score_captions({42: "a dog"}, references, subset=True)["mean_length"] == 2


def test_predictions_of_unknown_images_are_refused(file):
    with pytest.raises(DataError, match=r"1 of 2 images are not among the references, first 43; did you mean '42'"):
        score_captions({43: "a dog", 7: "a cat"}, read_references(file(COCO)))
    with pytest.raises(DataError, match="there are none"):
        score_captions({}, read_references(file(COCO)), subset=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"--references: .*file\.json: not valid JSON: Expecting"),
        ([1], r"file\.json: must be an object; it is a list"),
        ({"image": []}, r"file\.json: images: missing; the file needs a list of images"),
        ({"images": 3, "annotations": []}, r"file\.json: images: must be a list; it is a whole number"),
        ({"images": [{"id": 1}, {"ids": 2}], "annotations": []}, r"images\[1\]\.id: missing; every image needs one"),
        ({"images": [{"id": 1}, {"id": 1}], "annotations": []}, r"images\[1\]\.id: image 1 is listed before"),
        (
            {"images": [{"id": True}], "annotations": []},
            r"images\[0\]\.id: must be a whole number or text; it is true or false",
        ),
        ({"images": [{"id": 1}], "annotations": []}, r"image 1 has no caption"),
        (
            {"images": [{"id": 1}], "annotations": [{"image_id": 2, "caption": "x"}]},
            r"annotations\[0\]\.image_id: the file has no image 2",
        ),
        (
            {"images": [{"id": 1}], "annotations": [{"image_id": 1, "caption": None}]},
            r"annotations\[0\]\.caption: missing; every annotation needs one",
        ),
        ({"images": [{"split": "test", "imgid": 1, "sentences": []}]}, r"images\[0\]: image 1 has no caption"),
        (
            {"images": [{"split": "test", "imgid": 1, "sentences": ["a"]}]},
            r"images\[0\]\.sentences\[0\]: must be an object; it is text",
        ),
        ({"images": [{"imgid": 1, "sentences": []}]}, r"images\[0\]\.split: missing"),
        (
            {"images": [{"split": "test", "imgid": 1, "sentences": [{"raw": "a"}]}] * 2},
            r"images\[1\]: image 1 is listed before",
        ),
    ],
)
def test_one_line_for_references_of_another_form(file, content, message):
    with pytest.raises(DataError, match=message) as error:
        read_references(file(content))
    assert "\n" not in str(error.value)


def test_a_split_that_is_not_there_is_named(file):
    with pytest.raises(ConfigError, match=r"--split: .* has no images of 'trian'; did you mean 'train'"):
        read_references(file(KARPATHY), "trian")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"image_id": 1}, r"--predictions: .*: results are a list of objects"),
        ([{"image_id": 1, "caption": "a"}, {"id": 2}], r"\[1\]\.image_id: missing"),
        ([{"image_id": 1, "caption": ["a"]}], r"\[0\]\.caption: must be text; it is a list"),
        ([{"image_id": 1, "caption": "a"}] * 2, r"\[1\]: image 1 was predicted before"),
        (b"\xff\xfe".decode("latin-1"), "not valid JSON"),
    ],
)
def test_one_line_for_results_of_another_form(file, content, message):
    with pytest.raises(DataError, match=message):
        read_predictions(file(content))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.json: there is no such file"):
        read_predictions(tmp_path / "absent.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_references(tmp_path)
