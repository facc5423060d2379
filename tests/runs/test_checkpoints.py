"""Checkpoint files are whole or absent, and opening one runs nothing."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict

import pytest
import torch

from project.errors import CheckpointError
from project.runs.checkpoints import SCHEMA, AtomicCheckpointIO, check_plain, read_checkpoint, read_weights

VALID = {
    "state_dict": {"w": torch.arange(9000.0)},
    "task": "Classifier",
    "hyper_parameters": {"a": 1},
    "schema": SCHEMA,
}


class Unsavable:
    def __reduce__(self):
        raise RuntimeError("half-way")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def path(tmp_path):
    AtomicCheckpointIO().save_checkpoint(VALID, tmp_path / "sub" / "last.ckpt")
    return tmp_path / "sub" / "last.ckpt"


def test_what_was_saved_is_read_back(path):
    checkpoint = read_checkpoint(path)
    assert torch.equal(checkpoint["state_dict"]["w"], VALID["state_dict"]["w"])
    assert {k: v for k, v in checkpoint.items() if k != "state_dict"} == {
        "task": "Classifier", "hyper_parameters": {"a": 1}, "schema": SCHEMA,
    }  # fmt: skip
    assert torch.equal(AtomicCheckpointIO().load_checkpoint(path)["state_dict"]["w"], VALID["state_dict"]["w"])
    assert os.listdir(path.parent) == ["last.ckpt"]


def test_a_save_that_fails_half_way_leaves_the_old_file_and_no_other(path):
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="half-way"):
        AtomicCheckpointIO().save_checkpoint(VALID | {"more": Unsavable()}, path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["last.ckpt"]


@pytest.mark.parametrize("limit", [0, 1000, 20_000])
def test_a_full_disk_is_an_oserror_and_leaves_the_old_file(path, small_files_only, limit):
    before = path.read_bytes()
    assert limit < len(before)
    with small_files_only(limit), pytest.raises(OSError, match="too large"):
        AtomicCheckpointIO().save_checkpoint(VALID, path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["last.ckpt"]


class Custom:
    """What a callback may keep as its state, and `weights_only` does not open."""


@pytest.mark.parametrize("absent", [True, False])
def test_what_would_not_open_again_is_not_kept(path, absent):
    before = path.read_bytes()
    if absent:
        path.unlink()
    with pytest.raises(CheckpointError, match=r"last\.ckpt: would not open again, since it holds a \S*Custom; "):
        AtomicCheckpointIO().save_checkpoint(VALID | {"callbacks": {"c": Custom()}}, path)
    assert os.listdir(path.parent) == ([] if absent else ["last.ckpt"])
    assert absent or path.read_bytes() == before


@pytest.mark.parametrize("harm", ["cut", "changed"])
def test_a_write_that_the_disk_did_not_keep_is_not_kept(path, monkeypatch, harm):
    """As some network file systems do, which report no fault."""
    before, save = path.read_bytes(), torch.save

    def lose(checkpoint, file):
        save(checkpoint, file)
        if harm == "cut":
            file.truncate(20_000)
        else:
            file.seek(20_000)
            file.write(b"?")

    monkeypatch.setattr(torch, "save", lose)
    with pytest.raises(
        OSError, match={"cut": "Invalid argument|not what is read", "changed": "not what is read"}[harm]
    ):
        AtomicCheckpointIO().save_checkpoint(VALID, path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["last.ckpt"]


@pytest.mark.parametrize("read", [read_checkpoint, read_weights])
@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_single_wrong_bit_is_found(path, place, read):
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4  # in the weights, which are nearly all of the file
    path.write_bytes(content)
    torch.load(path, weights_only=True)  # torch does not notice
    with pytest.raises(CheckpointError, match=r"last\.ckpt.*damaged.*checksum"):
        read(path)


@pytest.mark.parametrize("read", [read_checkpoint, read_weights])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused_by_name(path, share, read):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CheckpointError, match=r"last\.ckpt.*(damaged|not a checkpoint)"):
        read(path)


@pytest.mark.parametrize("read", [read_checkpoint, read_weights])
def test_what_is_no_checkpoint_is_refused_by_name(tmp_path, read):
    (tmp_path / "text").write_text("hello, I am a note\n" * 20)
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "folder").mkdir()
    torch.save([1, 2], tmp_path / "list")
    torch.save({"epoch": 3}, tmp_path / "no_weights")
    for name in ("text", "bytes", "folder", "list", "no_weights", "absent"):
        with pytest.raises(CheckpointError, match=name):
            read(tmp_path / name)


def test_foreign_weights_are_no_checkpoint_but_can_be_started_from(tmp_path):
    torch.save({"fc.weight": torch.ones(2, 2), "epoch": 3}, tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="init_from"):
        read_checkpoint(tmp_path / "foreign.pt")
    weights = read_weights(tmp_path / "foreign.pt")
    assert list(weights) == ["fc.weight"]
    assert torch.equal(weights["fc.weight"], torch.ones(2, 2))


@pytest.mark.parametrize("read", [read_checkpoint, read_weights, AtomicCheckpointIO().load_checkpoint])
@pytest.mark.parametrize("layout", ["zip", "legacy", "plain pickle", "old pickle", "hyper-parameter"])
def test_code_in_a_checkpoint_is_not_run(tmp_path, layout, read):
    path, bomb = tmp_path / "bomb.ckpt", Bomb(tmp_path / "exploded")
    if layout == "plain pickle":
        path.write_bytes(pickle.dumps(VALID | {"x": bomb}))
    elif layout == "old pickle":
        path.write_bytes(pickle.dumps(VALID | {"x": bomb}, protocol=2))
    elif layout == "hyper-parameter":
        torch.save(VALID | {"hyper_parameters": {"a": bomb}}, path)
    else:
        torch.save(VALID | {"x": bomb}, path, _use_new_zipfile_serialization=layout == "zip")
    with pytest.raises(CheckpointError, match=r"bomb\.ckpt"):
        read(path)
    assert not (tmp_path / "exploded").exists()
    torch.load(path, weights_only=False) if "pickle" not in layout else pickle.loads(path.read_bytes())
    assert (tmp_path / "exploded").exists()  # the bomb is a real one


@pytest.mark.parametrize(("schema", "opens"), [(SCHEMA - 1, True), (SCHEMA, True), (SCHEMA + 1, False)])
def test_a_newer_schema_asks_for_an_update(tmp_path, schema, opens):
    torch.save(VALID | {"schema": schema}, tmp_path / "c.ckpt")
    if opens:
        assert read_checkpoint(tmp_path / "c.ckpt")["schema"] == schema
    else:
        with pytest.raises(CheckpointError, match="newer"):
            read_checkpoint(tmp_path / "c.ckpt")


KNOWN = "torch.optim.SGD"


@pytest.mark.parametrize("kind", ["mapping", "tensor"])
def test_check_plain_attributes_that_could_hide_something_are_refused(kind):
    hiding = OrderedDict(a=1) if kind == "mapping" else torch.ones(2)
    hiding.keys = 3
    with pytest.raises(CheckpointError, match="has attributes"):
        check_plain({"a": [hiding]}, "x")


def test_check_plain_large_deep_and_foreign_content_is_refused():
    deep: list = []
    for _ in range(100):
        deep = [deep]
    loop: list = []
    loop.append(loop)
    bomb: list = [0] * 10
    for _ in range(12):
        bomb = [bomb] * 10
    for content, reason in (
        (deep, "nested more than"), (loop, "nested more than"), (bomb, "more than 10,000,000 values"), (object(), "holds a object"),
        (torch.zeros(1).expand(10**12), "holds a Tensor"), (torch.zeros(2).to_sparse(), "holds a Tensor"),
        ({"a": torch.float32}, "holds a dtype"),
    ):  # fmt: skip
        with pytest.raises(CheckpointError, match=reason):
            check_plain({"x": content}, "x")
    check_plain({"a": [1, 2.0, "x", None, True, b"y", (1, 2), OrderedDict(a=torch.ones(3))]}, "x")


def test_remove_checkpoint_removes_files_of_checkpoints_alone(tmp_path):
    (tmp_path / "directory.ckpt").mkdir()
    for name in ("a.ckpt", "b.csv"):
        (tmp_path / name).touch()
    (tmp_path / "link.ckpt").symlink_to(tmp_path / "b.csv")
    places = [tmp_path / "a.ckpt", tmp_path / "b.csv", tmp_path / "directory.ckpt", tmp_path / "link.ckpt", tmp_path]
    for place in (*places, f"local://{tmp_path}", "http://127.0.0.1:9/x.ckpt"):
        AtomicCheckpointIO().remove_checkpoint(place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.csv", "directory.ckpt", "link.ckpt"]
