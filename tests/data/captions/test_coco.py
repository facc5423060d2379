"""COCO's JSON, and one line for each mistake in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from project.data import COCOCaptions
from project.errors import ConfigError, DataError


def coco_file(first: int, count: int) -> dict[str, Any]:
    """`count` images with two captions each, the captions in an order of their own."""
    images = [{"id": 100 + i, "file_name": f"{i}.jpg", "height": 9, "width": 9} for i in range(first, first + count)]
    annotations = [
        {"image_id": image["id"], "id": 7 * j + image["id"], "caption": f"Text {j} of {image['id']}"}
        for j in range(2)
        for image in reversed(images)
    ]
    return {"info": {}, "images": images, "annotations": annotations}


@pytest.fixture
def write(tmp_path):
    """Writes an annotation file and its images; returns the paths of file and folder."""

    def to(name: str, content: dict) -> tuple[str, str]:
        (tmp_path / name).mkdir(exist_ok=True)
        for i in range(20):
            Image.new("RGB", (9, 9)).save(tmp_path / name / f"{i}.jpg")
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return str(tmp_path / f"{name}.json"), str(tmp_path / name)

    return to


def test_each_file_is_a_split_and_captions_find_their_images(write):
    (train, images), (val, val_images) = write("train", coco_file(0, 3)), write("val", coco_file(5, 2))
    data = COCOCaptions(train, images, val, val_images)
    assert {split: [path.name for path in part.images] for split, part in data.splits.items()} == {
        "train": ["0.jpg", "1.jpg", "2.jpg"],
        "val": ["5.jpg", "6.jpg"],
    }
    assert {path.parent.name for path in data.splits["val"].images} == {"val"}
    assert data.splits["train"].captions == [[f"Text {j} of {100 + i}" for j in range(2)] for i in range(3)]
    assert data.splits["val"].image_ids() == [105, 106]
    assert data.splits["train"].take(np.array([2, 0]), "train").image_ids() == [102, 100]
    assert "100" in data.vocabulary
    assert "105" not in data.vocabulary


def test_files_may_share_a_folder_and_testing_has_its_own(write):
    (train, images), (val, _), (test, _) = (write(*part) for part in (
        ("train", coco_file(0, 3)), ("val", coco_file(5, 2)), ("test", coco_file(8, 4))))  # fmt: skip
    data = COCOCaptions(train, images, val, test_annotations=test)
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 3, "val": 2, "test": 4}
    assert {Path(path).parent.name for part in data.splits.values() for path in part.images} == {"train"}


def test_no_image_is_trained_on_and_tested(write):
    (train, images), (test, _) = write("train", coco_file(0, 3)), write("test", coco_file(2, 2))
    data = COCOCaptions(train, images, test_annotations=test)
    with pytest.raises(
        DataError, match=r"data.test_annotations: .*2\.jpg is among those of train, too; list each image"
    ):
        data.splits  # noqa: B018  reads them


def test_without_a_file_validation_is_held_out(write):
    data = COCOCaptions(*write("train", coco_file(0, 20)))
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 18, "val": 2}


def changed(name: str, index: int, **fields: Any) -> dict:
    content = coco_file(0, 3)
    content[name][index] |= fields
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, r"annotations: missing; the file needs a list of captions; "),
        ({"annotations": []}, r"images: missing; the file needs a list of images$"),
        (changed("images", 2, id=100), r"images\[2\]\.id: 100 is that of images\[0\] too; every image needs its own$"),
        (changed("images", 2, id=None), r"images\[2\]\.id: missing; every image needs one$"),
        (changed("images", 2, file_name=None), r"images\[2\]\.file_name: missing; "),
        (changed("images", 2, file_name="../2.jpg"), r"images\[2\]\.file_name: '\.\./2\.jpg' leads out of "),
        (changed("images", 2, file_name="0.jpg"), r"images\[2\]\.file_name: .*0\.jpg is images\[0\]\.file_name too; "),
        (changed("annotations", 3, image_id=9), r"annotations\[3\]\.image_id: the file has no image 9; "),
        (changed("annotations", 3, image_id="100"), r"annotations\[3\]\.image_id: the file has no image '100'; "),
        (changed("annotations", 3, caption=None), r"annotations\[3\]\.caption: missing; every annotation needs one$"),
        (changed("annotations", 3, caption=3), r"annotations\[3\]\.caption: must be text; it is a whole number \(3\)$"),
        (coco_file(0, 3) | {"annotations": coco_file(0, 2)["annotations"]},
         r"images\[2\]: 2\.jpg has no captions; every image needs one or more$"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("split", ["", "val_"])
def test_what_is_wrong_is_named_with_option_entry_and_field(split, content, message, write):
    good, bad = write("good", coco_file(0, 3)), write("bad", content)
    with pytest.raises(DataError, match=message) as caught:
        _ = (COCOCaptions(*good, *bad) if split else COCOCaptions(*bad)).splits
    assert str(caught.value).startswith(f"data.{split}annotations: {bad[0]}: ")
    assert "\n" not in str(caught.value)


def test_missing_images_are_counted(write):
    good, bad = write("good", coco_file(0, 3)), write("bad", coco_file(18, 4))
    with pytest.raises(
        DataError, match=r"^data\.val_images: 2 of 4 listed images are not there: .*bad/20\.jpg, .*bad/21\.jpg; "
    ):
        _ = COCOCaptions(*good, *bad).splits


@pytest.mark.parametrize("of_images", [int, str])
def test_an_id_of_another_type_is_said_to_be_one(of_images, write):
    content, of_captions = coco_file(0, 3), str if of_images is int else int
    for image in content["images"]:
        image["id"] = of_images(image["id"])
    for said in content["annotations"]:
        said["image_id"] = of_captions(said["image_id"])
    kinds = {str: "text", int: "a whole number"}
    end = (
        f"no image {of_captions(102)!r}; this id is {kinds[of_captions]}, and that of the image is {kinds[of_images]}, "
    )
    with pytest.raises(DataError) as caught:
        _ = COCOCaptions(*write("ids", content)).splits
    assert str(caught.value).endswith(f"{end}{of_images(102)!r}; write both alike")


def test_missing_training_images_are_left_out_where_that_is_asked_for(write):
    good, bad = write("good", coco_file(0, 3)), write("bad", coco_file(18, 4))
    data = COCOCaptions(*bad, *good, on_bad_image="skip")
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 2, "val": 3}
    assert len(data.skipped_images) == 2


def test_a_folder_without_its_file_is_a_mistake(write):
    with pytest.raises(
        ConfigError, match=r"^data\.test_images: is of no use without data\.test_annotations; give both$"
    ):
        COCOCaptions(*write("train", coco_file(0, 3)), test_images="x")
