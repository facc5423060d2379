"""Small archives in torchvision's own layouts, served over loopback with addresses and checksums set to them."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import pickle
import struct
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets


@dataclass
class Server:
    """What a loopback server gives and was asked for.

    folder: its files. url: its address. requests: names of the files that were fetched. delay: seconds before it answers.
    """

    folder: Path
    url: str = ""
    requests: list[str] = field(default_factory=list)
    delay: float = 0.0


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args: object, server_state: Server, **options: object) -> None:
        self.state = server_state
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        if self.headers.get("Method") != "HEAD":  # how torchvision looks for redirections
            self.state.requests.append(self.path.removeprefix("/"))
        time.sleep(self.state.delay)
        super().do_GET()

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    """A server of the files in its folder, which is empty."""
    state = Server(tmp_path / "server")
    state.folder.mkdir()
    handler = functools.partial(_Handler, directory=state.folder, server_state=state)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as http_server:
        state.url = f"http://127.0.0.1:{http_server.server_port}/"
        thread = threading.Thread(target=http_server.serve_forever, args=(0.01,))
        thread.start()
        yield state
        http_server.shutdown()
        thread.join()


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Archive:
    """What a served data set holds: (pixels, labels) of its training and its test split, and the classes in order."""

    name: str
    train: tuple[np.ndarray, list[int]]
    test: tuple[np.ndarray, list[int]]
    classes: list[str]


CIFAR_PARTS = {
    "CIFAR10": {f"data_batch_{i}": 20 for i in range(1, 6)} | {"test_batch": 30},
    "CIFAR100": {"train": 300, "test": 100},
}
CIFAR_FOLDERS = {"CIFAR10": "cifar-10-batches-py", "CIFAR100": "cifar-100-python"}


def _cifar_files(name: str) -> tuple[dict[str, dict], Archive]:
    """The content of each file as Krizhevsky wrote it, and what it means."""
    parts, count = CIFAR_PARTS[name], int(name.removeprefix("CIFAR"))
    random = np.random.default_rng(0)
    pixels = {part: random.integers(0, 256, (size, 32, 32, 3), np.uint8) for part, size in parts.items()}
    labels = {part: [(7 * i) % count for i in range(size)] for part, size in parts.items()}
    key = "labels" if count == 10 else "fine_labels"
    files: dict[str, dict] = {
        # channels first and flat
        part: {"data": pixels[part].transpose(0, 3, 1, 2).reshape(size, -1), key: labels[part]}
        for part, size in parts.items()
    }
    classes = [f"class {count - k}" for k in range(count)]  # in no alphabetical order
    if count == 10:
        files["batches.meta"] = {"label_names": classes}
    else:
        for part in parts:
            files[part]["coarse_labels"] = [k % 20 for k in labels[part]]
        files["meta"] = {"fine_label_names": classes, "coarse_label_names": [f"kind {k}" for k in range(20)]}
    *training, test = parts
    train = np.concatenate([pixels[part] for part in training]), [k for part in training for k in labels[part]]
    return files, Archive(getattr(datasets, name).filename, train, (pixels[test], labels[test]), classes)


@pytest.fixture
def cifar(server, monkeypatch) -> Callable[[str], Archive]:
    """Serves `CIFAR10` or `CIFAR100` and says what is in it."""

    def serve(name: str) -> Archive:
        theirs, (files, archive) = getattr(datasets, name), _cifar_files(name)
        encoded = {part: pickle.dumps(content) for part, content in files.items()}
        with tarfile.open(server.folder / archive.name, "w:gz") as tar:
            for part, content in encoded.items():
                member = tarfile.TarInfo(f"{CIFAR_FOLDERS[name]}/{part}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        sums = {part: _md5(content) for part, content in encoded.items()}
        monkeypatch.setattr(theirs, "train_list", [[part, sums[part]] for part, _ in theirs.train_list])
        monkeypatch.setattr(theirs, "test_list", [[part, sums[part]] for part, _ in theirs.test_list])
        monkeypatch.setattr(theirs, "meta", theirs.meta | {"md5": sums[theirs.meta["filename"]]})
        monkeypatch.setattr(theirs, "tgz_md5", _md5((server.folder / archive.name).read_bytes()))
        monkeypatch.setattr(theirs, "url", server.url + archive.name)
        return archive

    return serve


@pytest.fixture
def fashion_mnist(server, monkeypatch) -> Archive:
    """Serves a small FashionMNIST and says what is in it."""
    random = np.random.default_rng(0)
    resources, splits = [], {}
    for prefix, count in (("train", 100), ("t10k", 30)):
        pixels = random.integers(0, 256, (count, 28, 28), np.uint8)
        labels = [(3 * i) % 10 for i in range(count)]
        splits[prefix] = (pixels, labels)
        # LeCun's format: two zeros, 8 for bytes, the number of axes, the sizes big-endian, the values
        for kind, shape, values in (
            ("images-idx3", (count, 28, 28), pixels.tobytes()),
            ("labels-idx1", (count,), bytes(labels)),
        ):
            content = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + values
            packed = gzip.compress(content)
            name = f"{prefix}-{kind}-ubyte.gz"
            (server.folder / name).write_bytes(packed)
            resources.append((name, _md5(packed)))
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [server.url])
    monkeypatch.setattr(datasets.FashionMNIST, "resources", resources)
    classes = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
    return Archive("FashionMNIST", splits["train"], splits["t10k"], classes)
