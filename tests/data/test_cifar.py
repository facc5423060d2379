"""CIFAR-10 from a small archive in torchvision's own layout, served over loopback."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import pickle
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from project.data import CIFAR10
from project.errors import DataError

FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PARTS = {f"data_batch_{i}": 20 for i in range(1, 6)} | {"test_batch": 30}


def pixels(name: str) -> np.ndarray:
    """What each part holds, (N, 32, 32, 3)."""
    random = np.random.default_rng(list(PARTS).index(name))
    return random.integers(0, 256, (PARTS[name], 32, 32, 3), np.uint8)


def labels(name: str) -> list[int]:
    return [i % 10 for i in range(PARTS[name])]


@pytest.fixture
def served(tmp_path, monkeypatch) -> Path:
    """The folder that the archive is served from, with torchvision's address and checksums set to it."""
    files = {
        # channels first and flat, as Krizhevsky wrote them
        name: {"data": pixels(name).transpose(0, 3, 1, 2).reshape(count, -1), "labels": labels(name)}
        for name, count in PARTS.items()
    } | {"batches.meta": {"label_names": CLASSES}}
    encoded = {name: pickle.dumps(content) for name, content in files.items()}
    folder = tmp_path / "server"
    folder.mkdir()
    with tarfile.open(folder / ARCHIVE, "w:gz") as archive:
        for name, content in encoded.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    sums = {name: hashlib.md5(content, usedforsecurity=False).hexdigest() for name, content in encoded.items()}
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[name, sums[name]] for name in PARTS if name != "test_batch"])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    whole = hashlib.md5((folder / ARCHIVE).read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", whole)
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setattr(datasets.CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{ARCHIVE}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Says nothing."""


def assert_is_the_archive(data: CIFAR10) -> None:
    splits = data.splits
    np.testing.assert_array_equal(splits["test"].images, pixels("test_batch"))
    assert splits["test"].labels.tolist() == labels("test_batch")
    everything = np.concatenate([pixels(name) for name in PARTS if name != "test_batch"])
    assert len(splits["train"]) + len(splits["val"]) == 100
    known = {image.tobytes(): i % 10 for i, image in enumerate(everything)}
    for split in ("train", "val"):
        held = {
            image.tobytes(): k for image, k in zip(splits[split].images, splits[split].labels.tolist(), strict=True)
        }
        assert held.items() <= known.items()
        known = {image: k for image, k in known.items() if image not in held}
    assert known == {}, "an image is in neither split"
    assert np.bincount(splits["val"].labels).tolist() == [2] * 10


def test_the_archive_is_downloaded_once_and_read(served, tmp_path):
    data = CIFAR10(str(tmp_path / "data"), val_fraction=0.2)
    assert_is_the_archive(data)
    assert (data.image_size, data.resident, len(data.class_names)) == (32, True, 10)
    (served / ARCHIVE).unlink()
    assert_is_the_archive(CIFAR10(str(tmp_path / "data"), val_fraction=0.2))


def test_an_archive_put_there_by_hand_is_used(served, tmp_path):
    (tmp_path / "data").mkdir()
    (served / ARCHIVE).rename(tmp_path / "data" / ARCHIVE)
    assert_is_the_archive(CIFAR10(str(tmp_path / "data"), val_fraction=0.2))


def test_the_classes_are_those_of_the_archive_in_its_order():
    assert CIFAR10().class_names == CLASSES


@pytest.mark.parametrize("fault", ["no server", "other bytes"])
def test_a_failed_download_is_one_line_that_says_what_to_do(fault, served, tmp_path, monkeypatch):
    if fault == "no server":
        monkeypatch.setattr(datasets.CIFAR10, "url", f"http://127.0.0.1:1/{ARCHIVE}")  # nothing listens there
    else:
        with open(served / ARCHIVE, "ab") as file:
            file.write(b"more")
    with pytest.raises(DataError) as caught:
        _ = CIFAR10(str(tmp_path / "data")).splits
    text = str(caught.value)
    assert text.startswith(f"data.root: CIFAR-10 cannot be downloaded to {tmp_path / 'data'}: ")
    assert text.endswith("put cifar-10-python.tar.gz there by hand and try again")
    assert "\n" not in text


def test_a_root_that_cannot_be_written_is_one_line(served, tmp_path):
    (tmp_path / "data").write_text("a file in its place")
    with pytest.raises(DataError, match=r"^data\.root: .*data") as caught:
        _ = CIFAR10(str(tmp_path / "data")).splits
    assert "\n" not in str(caught.value)
