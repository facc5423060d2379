"""Karpathy's JSON, and one line for each mistake in it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from project.data import KarpathyCaptions
from project.errors import DataError
from project.metrics.ptb_tokenizer import ptb_tokenize

SPLITS = ["train", "restval", "val", "test", "train", "restval"]


def karpathy_file() -> dict[str, Any]:
    """Six images, two of each training split, as `dataset_coco.json` has them."""
    images = []
    for i, split in enumerate(SPLITS):
        sentences = [
            {"tokens": ["a", "dog", str(i), str(j)], "raw": f"A dog, {i} {j}. ", "imgid": i, "sentid": 2 * i + j}
            for j in range(1 + i % 2)
        ]
        images.append({
            "filepath": "val2014" if i % 2 else "train2014", "sentids": [s["sentid"] for s in sentences], "imgid": i,
            "filename": f"{i}.jpg", "split": split, "sentences": sentences, "cocoid": 391895 + i,
        })  # fmt: skip
    return {"images": images, "dataset": "coco"}


@pytest.fixture
def make(tmp_path) -> Callable[..., KarpathyCaptions]:
    """The datamodule of a file of that content, and of six images."""

    def build(content: Any, **options) -> KarpathyCaptions:
        for name in [f"{part}/{i}.jpg" for part in ("train2014", "val2014", ".") for i in range(6)]:
            (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 9), (40 * int(Path(name).stem), 0, 0)).save(tmp_path / "images" / name)
        (tmp_path / "dataset.json").write_text(content if isinstance(content, str) else json.dumps(content))
        return KarpathyCaptions(str(tmp_path / "dataset.json"), str(tmp_path / "images"), **options)

    return build


def by_split(data: KarpathyCaptions) -> dict[str, list[str]]:
    return {split: [str(path.relative_to(data.images)) for path in part.images] for split, part in data.splits.items()}


def test_all_splits_are_read_and_restval_joins_training(make):
    data = make(karpathy_file())
    assert by_split(data) == {
        "train": ["train2014/0.jpg", "val2014/1.jpg", "train2014/4.jpg", "val2014/5.jpg"],
        "val": ["train2014/2.jpg"],
        "test": ["val2014/3.jpg"],
    }
    train = data.splits["train"]
    assert train.captions == [["A dog, 0 0. "], ["A dog, 1 0. ", "A dog, 1 1. "], ["A dog, 4 0. "],
                              ["A dog, 5 0. ", "A dog, 5 1. "]]  # fmt: skip
    assert train.tokens[1] == [["a", "dog", "1", "0"], ["a", "dog", "1", "1"]]
    assert data.vocabulary[:2] == ["a", "dog"]
    assert data.splits["test"].captions == [["A dog, 3 0. ", "A dog, 3 1. "]]


@pytest.mark.parametrize(
    ("removed", "expected"),
    [((), [391898]), (("cocoid",), [3]), (("cocoid", "imgid"), ["val2014/3.jpg"])],
)
def test_ids_of_images_are_cocos_else_the_files_own_else_paths(make, removed, expected):
    data = make(without(karpathy_file(), *removed))
    assert data.splits["test"].image_ids() == expected


def without(content: dict, *names: str) -> dict:
    """Without fields of its images or its sentences."""
    content = copy.deepcopy(content)
    for image in content["images"]:
        for part in [image, *image["sentences"]]:
            for name in names:
                part.pop(name, None)
    return content


def test_what_the_flickr_files_lack_is_not_needed(make):
    data = make(without(karpathy_file(), "filepath", "cocoid", "imgid", "sentid", "sentids"))
    assert by_split(data)["train"] == ["0.jpg", "1.jpg", "4.jpg", "5.jpg"]


def test_texts_or_words_alone_are_enough(make):
    texts = make(without(karpathy_file(), "tokens"))
    assert texts.splits["train"].tokens is None
    assert "a" in texts.vocabulary
    words = make(without(karpathy_file(), "raw"))
    assert words.splits["val"].captions == [["a dog 2 0"]]
    assert words.splits["val"].tokens == [[["a", "dog", "2", "0"]]]
    mixed = karpathy_file()
    mixed["images"][0]["sentences"] = [{"raw": "A cat's tail."}, {"tokens": ["x"]}]
    data = make(mixed)
    assert data.splits["train"].captions[0] == ["A cat's tail.", "x"]
    assert data.splits["train"].tokens[0] == [ptb_tokenize("A cat's tail."), ["x"]]


CHINESE = [["左边", "一个", "红色", "的", "十字"], ["右边", "一个", "蓝色", "的", "圆盘"]]


def chinese_file() -> dict[str, Any]:
    content = karpathy_file()
    for i, image in enumerate(content["images"]):
        words = CHINESE[i % 2]
        image["sentences"] = [{"raw": "".join(words) + "。", "tokens": words}]
    return content


def test_unsegmented_texts_with_tokens_are_scored_by_the_tokens(make):
    data = make(chinese_file())
    assert data.tokenizer == "given"
    assert set(data.vocabulary) == {word for words in CHINESE for word in words}
    assert data.references("test") == [[" ".join(CHINESE[1])]]
    assert set(data.training_captions) == {" ".join(words) for words in CHINESE}
    english = make(karpathy_file())
    assert english.tokenizer == "ptb"
    assert english.references("train") == english.splits["train"].captions


def test_another_tokenizer_takes_the_texts_and_not_the_tokens(make):
    data = make(chinese_file(), tokenizer="unicode")
    assert data.references("test") == [["右 边 一 个 蓝 色 的 圆 盘"]]
    assert "右" in data.vocabulary
    assert "右边" not in data.vocabulary


def test_a_text_without_tokens_cannot_be_given(make):
    content = chinese_file()
    del content["images"][3]["sentences"][0]["tokens"]
    with pytest.raises(
        DataError, match=r"^data\.tokenizer: given takes .* a caption of .*3\.jpg has none; add them, or choose"
    ):
        _ = make(content).splits


def test_a_file_without_val_has_it_held_out_of_training(make):
    content = karpathy_file()
    for image in content["images"]:
        image["split"] = "restval" if image["split"] == "val" else image["split"]
    data = make(content, val_fraction=0.4)
    splits = by_split(data)
    assert {split: len(part) for split, part in splits.items()} == {"train": 3, "val": 2, "test": 1}
    for path, texts in zip(data.splits["val"].images, data.splits["val"].captions, strict=True):
        assert texts[0] == f"A dog, {path.stem} 0. "


def edit(path: tuple, value: Any) -> Callable[[dict], None]:
    """Sets a field deep in the file; `...` removes it."""

    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        if value is ...:
            del content[path[-1]]
        else:
            content[path[-1]] = value

    return change


def no_train(content: dict) -> None:
    for image in content["images"]:
        image["split"] = "test"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit(("images",), ...), r"images: missing; the file needs a list of images$"),
        (edit(("images",), []), r"images: none is of the split 'train'; "),
        (no_train, r"images: none is of the split 'train'; "),
        (edit(("images", 2), "x"), r"images\[2\]: must be an object; it is text \(\"x\"\)$"),
        (edit(("images", 2, "split"), ...), r"images\[2\]\.split: missing; every image needs one of train, "),
        (edit(("images", 2, "split"), "vall"), r"images\[2\]\.split: there is no split 'vall'; did you mean 'val'\?$"),
        (edit(("images", 2, "filename"), ...), r"images\[2\]\.filename: missing; every image needs "),
        (edit(("images", 2, "filename"), 5), r"images\[2\]\.filename: must be text; it is a whole number \(5\)$"),
        (edit(("images", 2, "filepath"), 5), r"images\[2\]\.filepath: must be text; it is a whole number \(5\)$"),
        (edit(("images", 2, "filepath"), "../x"), r"images\[2\]\.filename: '\.\./x/2\.jpg' leads out of .*images; "),
        (edit(("images", 2, "filename"), "/etc/x"), r"images\[2\]\.filename: '/etc/x' leads out of ", ),
        (edit(("images", 4, "filename"), "0.jpg"), r"images\[4\]\.filename: .*0\.jpg is images\[0\]\.filename too; "),
        (edit(("images", 5, "sentences"), ...), r"images\[5\]\.sentences: missing; every image needs a list of them$"),
        (edit(("images", 5, "sentences", 1), 7), r"images\[5\]\.sentences\[1\]: must be an object; "),
        (edit(("images", 5, "sentences", 1), {}), r"images\[5\]\.sentences\[1\]\.raw: missing; .* or 'tokens', "),
        (edit(("images", 5, "sentences", 1, "raw"), 7), r"images\[5\]\.sentences\[1\]\.raw: must be text; "),
        (edit(("images", 5, "sentences", 1, "tokens"), "a b"), r"sentences\[1\]\.tokens: must be a list; "),
        (edit(("images", 5, "sentences", 1, "tokens", 0), 1), r"sentences\[1\]\.tokens\[0\]: must be text; "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_entry_and_field(change, message, make, tmp_path):
    content = karpathy_file()
    if isinstance(content["images"][2]["filepath"], str) and "/etc/x" in message:
        del content["images"][2]["filepath"]
    change(content)
    with pytest.raises(DataError, match=message) as caught:
        _ = make(content).splits
    assert str(caught.value).startswith(f"data.annotations: {tmp_path / 'dataset.json'}: ")
    assert "\n" not in str(caught.value)


def test_other_files_are_no_annotations(make):
    with pytest.raises(DataError, match=r"dataset\.json: not valid JSON: "):
        _ = make("path,caption").splits
    with pytest.raises(DataError, match=r"dataset\.json: must be an object; it is a list"):
        _ = make([1]).splits


def test_missing_images_are_counted(make):
    content = karpathy_file()
    for i in (1, 3):
        content["images"][i]["filename"] = f"none{i}.jpg"
    with pytest.raises(
        DataError, match=r"^data\.images: 2 of 6 listed images are not there: .*none1\.jpg, .*none3\.jpg; "
    ):
        _ = make(content).splits
    with pytest.raises(DataError, match=r"^data\.images: 1 of 2 listed images are not there: .*none3\.jpg; "):
        _ = make(content, on_bad_image="skip").splits
    content["images"][3]["filename"] = "3.jpg"
    kept, every = by_split(make(content, on_bad_image="skip")), by_split(make(karpathy_file()))
    assert kept == {split: [name for name in names if "/1." not in name] for split, names in every.items()}


def test_an_image_without_captions_is_named(make):
    content = karpathy_file()
    content["images"][3]["sentences"] = []
    with pytest.raises(
        DataError, match=r"^test split: .*val2014/3\.jpg: every image needs a caption, and this one has none; "
    ):
        _ = make(content).splits
    content["images"][3]["sentences"] = [{"raw": "..."}, {"raw": "!"}]
    with pytest.raises(DataError, match=r"^test split: .*val2014/3\.jpg: .* only '\.\.\.', which has no word; "):
        _ = make(content).splits
