"""Files of captions and results: what is read, and one line for each way in which it can be wrong."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from project.analysis.caption_scores import (
    References,
    as_results,
    notes,
    read_predictions,
    read_references,
    score_captions,
)
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
    expected.update(["a dog runs", "a dog sleeps"], [COCO_CAPTIONS[42], COCO_CAPTIONS[7]])
    assert scores == pytest.approx(expected.compute(), nan_ok=True)
    assert {"bleu_1", "bleu_4", "rouge_l", "cider_d", "distinct_1", "mean_length"} <= scores.keys()


def test_captions_are_scored_in_the_order_of_the_references():
    """A caption's last token depends on the next caption, as in coco-caption."""
    captions = {9: ["The letter C."], 10: ["a dog"], 2: ["The cat", "No."]}
    predictions = {2: "the cat", 9: "The letter C.", 10: "A dog"}  # 10 follows 9 whatever the order here
    expected = CaptionScores()
    expected.update(["the letter C", "A dog", "the cat"], [["The letter C."], ["a dog"], ["The cat", "No."]])
    assert score_captions(predictions, References(captions)) == pytest.approx(
        expected.compute() | {"exact_match": 1.0}, abs=1e-12
    )


@pytest.mark.skipif(not shutil.which("java"), reason="the reference is a Java program, which needs a Java runtime")
def test_scores_of_whole_files_are_coco_captions_own(file):
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    ends = ["the letter C.", "A dog B.", "no.", "5 dogs", "<b> x", "In the U.S.", "x.[^x= y", "a <>] b", "", "The cat."]
    draw = random.Random(0)
    ids = draw.sample(range(1000), 80)
    references = [{"image_id": draw.choice(ids), "id": n, "caption": draw.choice(ends)} for n in range(300)]
    references += [{"image_id": image, "id": 300 + image, "caption": draw.choice(ends)} for image in ids]
    results = [{"image_id": image, "caption": draw.choice(ends)} for image in draw.sample(ids, 80)]
    content = {"images": [{"id": image} for image in ids], "annotations": references}
    scores = score_captions(read_predictions(file(results)), read_references(file(content, "references.json")))

    # as COCOEvalCap.evaluate does with these files
    gts, res = (
        {image: [each for each in part if each["image_id"] == image] for image in ids} for part in (references, results)
    )
    gts, res = PTBTokenizer().tokenize(gts), PTBTokenizer().tokenize(res)
    expected = dict(zip([f"bleu_{n}" for n in range(1, 5)], Bleu(4).compute_score(gts, res, verbose=0)[0], strict=True))
    expected |= {"rouge_l": Rouge().compute_score(gts, res)[0], "cider_d": Cider().compute_score(gts, res)[0]}
    assert {name: scores[name] for name in expected} == pytest.approx(expected, rel=0, abs=1e-9)


PREDICTED = [
    {"path": "/photos/b.jpg", "caption": "a cat sleeps", "words": []},
    {"path": "a.jpg", "caption": "a dog runs"},
    {"path": "broken.jpg", "error": "cannot be read"},
]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_predictions_of_predict_are_found_by_their_files_names(file):
    references = read_references(file(COCO, "references.json"))
    predictions = read_predictions(file(lines(PREDICTED), "predictions.jsonl"), references)
    assert predictions == {7: "a cat sleeps", 42: "a dog runs"}
    assert as_results(predictions) == [
        {"image_id": 7, "caption": "a cat sleeps"},
        {"image_id": 42, "caption": "a dog runs"},
    ]
    assert read_predictions(file(as_results(predictions), "results.json")) == predictions


def test_the_same_name_in_two_directories_is_told_by_the_directory(file):
    images = [
        {"split": "test", "imgid": n, "filepath": name, "filename": "a.jpg", "sentences": [{"raw": "x"}]}
        for n, name in enumerate(["one", "two"])
    ]
    references = read_references(file({"images": images}))
    rows = [{"path": "data/two/a.jpg", "caption": "b"}, {"path": "one/a.jpg", "caption": "c"}]
    assert read_predictions(file(lines(rows), "p.jsonl"), references) == {1: "b", 0: "c"}
    with pytest.raises(DataError, match=r"line 1: path: a\.jpg: may be several files of the references"):
        read_predictions(file(lines([{"path": "a.jpg", "caption": "b"}]), "p.jsonl"), references)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"caption": "a"}], r"line 1: path: missing; every prediction needs the path"),
        ([{"path": "a.jpg", "label": "cat"}], r"line 1: caption: missing; .*; a classifier's has none"),
        ([{"path": "c.jpg", "caption": "a"}], r"line 1: path: c\.jpg: is no file of the references; did you mean"),
        ([PREDICTED[1]] * 2, r"line 2: image 42 was predicted before"),
        ([[1]], r"line 1: must be an object; it is a list"),
    ],
)
def test_one_line_for_predictions_of_another_form(file, rows, message):
    with pytest.raises(DataError, match=message):
        read_predictions(file(lines(rows), "predictions.jsonl"), read_references(file(COCO)))
    with pytest.raises(DataError, match=r"line 2: not valid JSON"):
        read_predictions(file(lines([PREDICTED[1]]) + "{", "predictions.jsonl"), read_references(file(COCO)))


def test_ids_of_another_type_are_named(file):
    message = r"first '42'; there it is a whole number, 42, and here text; give both files ids of one kind"
    with pytest.raises(DataError, match=message):
        score_captions({"42": "a dog", "7": "a cat"}, read_references(file(COCO)))
    content = {"images": [{"id": "1"}], "annotations": [{"image_id": 1, "caption": "x"}]}
    with pytest.raises(DataError, match=r"no image 1; there it is text, '1', and here a whole number"):
        read_references(file(content))


def test_notes_name_one_image_and_line_separators():
    references = References({1: ["a dog\r", "a\u2028b"], 2: ["c\vd"]})
    one, broken = notes({1: "a dog"}, references)
    assert one.startswith("cider_d is 0 because one image alone was scored")
    assert broken.startswith("1 captions contain a line separator")
    assert notes({1: "a", 2: "b"}, References({1: ["a\n"], 2: ["b\r"]})) == []


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
