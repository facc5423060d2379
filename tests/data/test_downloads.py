"""What every downloaded data set shares: one download whoever asks, and one line when it cannot be had."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from project.data import CIFAR10
from project.errors import DataError

NOBODY = 65534
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # urllib leaves a 404's open


@pytest.fixture(autouse=True)
def _closed():
    """What is left open is closed here, where it is no error, and not in another test."""
    yield
    gc.collect()


@pytest.fixture
def archive(cifar):
    return cifar("CIFAR10")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder, which everybody may enter."""
    (tmp_path / "open").mkdir(mode=0o755)
    monkeypatch.chdir(tmp_path / "open")
    return tmp_path / "open"


@contextmanager
def without_privileges() -> Iterator[None]:
    """The superuser may write anywhere, so here it is nobody; paths must be relative to a folder it is in."""
    if os.getuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def set_writable(folder: Path, writable: bool) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o755 if path.is_dir() else 0o644) & (0o777 if writable else ~(stat.S_IWUSR)))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # of Python 3.12
def test_processes_that_start_together_download_once(archive, server, tmp_path):
    """Processes and not threads, which `cached_property` of Python 3.11 lets in one by one."""
    server.delay = 0.3  # long enough for all to be there before the first has anything
    processes = multiprocessing.get_context("fork")  # which keeps the addresses and checksums
    barrier = processes.Barrier(3)

    def read(number: int) -> None:
        data = CIFAR10(str(tmp_path / "data"))
        barrier.wait(60)
        np.save(tmp_path / f"{number}.npy", data.splits["test"].images)

    started = [processes.Process(target=read, args=(number,)) for number in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert server.requests == [archive.name]
    for number in range(3):
        np.testing.assert_array_equal(np.load(tmp_path / f"{number}.npy"), archive.test[0])


def test_class_names_and_images_come_from_one_download(archive, server, tmp_path):
    data = CIFAR10(str(tmp_path / "data"))
    assert data.class_names == archive.classes
    assert len(data.splits["test"]) == 30
    assert server.requests == [archive.name]


def test_a_download_that_failed_can_be_tried_again(archive, server, tmp_path, monkeypatch):
    data = CIFAR10(str(tmp_path / "data"))
    with monkeypatch.context() as patch:
        patch.setattr(datasets.CIFAR10, "url", server.url + "absent.tar.gz")
        with pytest.raises(DataError, match="404"):
            _ = data.splits
    np.testing.assert_array_equal(data.splits["test"].images, archive.test[0])


@pytest.mark.parametrize("fault", ["no server", "no such file", "other bytes", "cut off"])
def test_a_failed_download_is_one_line_that_says_what_to_do(fault, archive, server, tmp_path, monkeypatch):
    served = server.folder / archive.name
    if fault == "no server":
        monkeypatch.setattr(datasets.CIFAR10, "url", f"http://127.0.0.1:1/{archive.name}")  # nothing listens there
    elif fault == "no such file":
        served.unlink()
    else:
        content = served.read_bytes()
        served.write_bytes(content + b"more" if fault == "other bytes" else content[: len(content) // 2])
    with pytest.raises(DataError) as caught:
        _ = CIFAR10(str(tmp_path / "data")).splits
    text = str(caught.value)
    assert text.startswith(f"data.root: CIFAR-10 cannot be downloaded to {tmp_path / 'data'}: ")
    assert text.endswith("put cifar-10-python.tar.gz there by hand and try again")
    assert "\n" not in text


def test_what_is_damaged_on_disk_is_made_whole_from_the_archive_beside_it(archive, server, tmp_path):
    _ = CIFAR10(str(tmp_path / "data")).splits
    (tmp_path / "data" / "cifar-10-batches-py" / "test_batch").write_bytes(b"damaged")
    np.testing.assert_array_equal(CIFAR10(str(tmp_path / "data")).splits["test"].images, archive.test[0])
    assert server.requests == [archive.name]


def test_a_file_in_the_roots_place_is_one_line(archive, tmp_path):
    (tmp_path / "data").write_text("a file in its place")
    with pytest.raises(DataError, match=r"^data\.root: CIFAR-10 cannot .*data") as caught:
        _ = CIFAR10(str(tmp_path / "data")).splits
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("root", ["data", "data/below"])
def test_a_root_that_cannot_be_written_is_one_line(archive, server, folder, root):
    (folder / "data").mkdir()
    shutil.copy(server.folder / archive.name, folder / "data")  # to be unpacked there
    (folder / "data").chmod(0o555)
    with without_privileges(), pytest.raises(DataError, match=r"^data\.root: .* data") as caught:
        _ = CIFAR10(root).splits
    assert f"Permission denied: '{root}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_read_only_root_that_holds_the_data_is_read(archive, server, folder):
    _ = CIFAR10("data").splits
    (folder / "data" / ".lock").unlink()
    set_writable(folder / "data", False)
    try:
        with without_privileges():
            assert not os.access("data", os.W_OK)  # or it would prove nothing
            data = CIFAR10("data")
            np.testing.assert_array_equal(data.splits["test"].images, archive.test[0])
            assert data.class_names == archive.classes
    finally:
        set_writable(folder / "data", True)
    assert server.requests == [archive.name]
    assert not (folder / "data" / ".lock").exists()
