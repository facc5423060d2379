"""FashionMNIST from four small files in its own layout."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from project.data import FashionMNIST
from project.errors import DataError


def batches(data: FashionMNIST, split: str) -> list:
    """As training gets them, without augmentation for the test split."""
    data.trainer = SimpleNamespace(
        state=SimpleNamespace(fn="fit"), overfit_batches=0, global_rank=0, world_size=1,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )  # fmt: skip
    return list(getattr(data, f"{split}_dataloader")())


def test_the_files_are_downloaded_once_and_read(fashion_mnist, server, tmp_path):
    for _ in range(2):
        data = FashionMNIST(str(tmp_path / "data"), val_fraction=0.2)
        splits = data.splits
        np.testing.assert_array_equal(splits["test"].images, fashion_mnist.test[0])
        assert splits["test"].labels.tolist() == fashion_mnist.test[1]
        known = {image.tobytes(): label for image, label in zip(*fashion_mnist.train, strict=True)}
        held = [
            (image.tobytes(), label)
            for split in ("train", "val")
            for image, label in zip(splits[split].images, splits[split].labels.tolist(), strict=True)
        ]
        assert len(held) == len(known) == 100
        assert dict(held) == known
        assert np.bincount(splits["val"].labels).tolist() == [2] * 10
        assert sorted(server.requests) == sorted(path.name for path in server.folder.iterdir())


def test_the_classes_are_in_the_order_of_the_labels(fashion_mnist, tmp_path):
    assert FashionMNIST(str(tmp_path / "data")).class_names == fashion_mnist.classes


def test_grey_images_become_batches_of_three_equal_channels(fashion_mnist, tmp_path):
    data = FashionMNIST(str(tmp_path / "data"), image_size=28, eval_batch_size=16, batch_size=30)
    tests = batches(data, "test")
    assert [tuple(batch.images.shape) for batch in tests] == [(16, 3, 28, 28), (14, 3, 28, 28)]
    images = torch.cat([batch.images for batch in tests])
    assert images.dtype == torch.uint8
    for channel in range(3):
        np.testing.assert_array_equal(images[:, channel].numpy(), fashion_mnist.test[0])
    assert torch.cat([batch.labels for batch in tests]).tolist() == fashion_mnist.test[1]
    known = {image.tobytes(): label for image, label in zip(*fashion_mnist.train, strict=True)}
    for batch in batches(data, "train"):
        assert torch.equal(batch.images[:, 0], batch.images[:, 2])
        assert [known[image.numpy().tobytes()] for image in batch.images[:, 1]] == batch.labels.tolist()


def test_files_put_there_by_hand_are_used(fashion_mnist, server, tmp_path):
    shutil.copytree(server.folder, tmp_path / "data" / "FashionMNIST" / "raw")
    data = FashionMNIST(str(tmp_path / "data"))
    np.testing.assert_array_equal(data.splits["test"].images, fashion_mnist.test[0])
    assert server.requests == []


def test_other_bytes_are_one_line_that_says_what_to_do(fashion_mnist, server, tmp_path):
    with open(server.folder / "t10k-labels-idx1-ubyte.gz", "ab") as file:
        file.write(b"more")
    with pytest.raises(DataError) as caught:
        _ = FashionMNIST(str(tmp_path / "data")).splits
    text = str(caught.value)
    assert text.startswith(f"data.root: FashionMNIST cannot be downloaded to {tmp_path / 'data'}: ")
    assert "t10k-labels-idx1-ubyte.gz" in text
    assert text.endswith(
        "put its four .gz files (below FashionMNIST/raw, without the unpacked ones) there by hand and try again"
    )
    assert "\n" not in text


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("share", [0, 0.5])
def test_a_file_that_was_cut_off_while_it_was_unpacked_is_one_line(fashion_mnist, tmp_path, name, share):
    """torchvision takes whatever has the name for a whole file."""
    _ = FashionMNIST(str(tmp_path / "data")).splits
    file = tmp_path / "data" / "FashionMNIST" / "raw" / name
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError) as caught:
        _ = FashionMNIST(str(tmp_path / "data")).splits
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("head", [b"\xff\xff\xff\xff", b"\0\0\x0a\x01", b"\0\0\x0d\x03", b"\0\0\x08\x02"])
def test_unpacked_file_of_another_form_is_one_line(fashion_mnist, tmp_path, head):
    _ = FashionMNIST(str(tmp_path / "data")).splits
    file = tmp_path / "data" / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(head + file.read_bytes()[4:])
    with pytest.raises(DataError, match=r"^data\.root: FashionMNIST cannot be downloaded to .*; put its four"):
        _ = FashionMNIST(str(tmp_path / "data")).splits
