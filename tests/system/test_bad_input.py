"""Whatever is wrong with the user's input gets one line and status 2, and leaves nothing half-written."""

from __future__ import annotations

import os
import shutil

import pytest
import torch

from project.runs.checkpoints import read_checkpoint


def leftovers(folder) -> list[str]:
    """Files that a broken-off command should have cleaned up."""
    return [
        str(path.relative_to(folder)) for path in folder.rglob("*")
        if path.is_file() and (path.name.startswith(".") or ".tmp" in path.name)
    ]  # fmt: skip


def split_tree(images, tmp_path):
    """`tree/train` with 16 images a class and `tree/val`, `tree/test` with 2 each, none of which `trained` has seen."""
    for path in images.rglob("*.png"):
        path.write_bytes(path.read_bytes() + b"another file")
    for split, names in (("val", ("00", "01")), ("test", ("02", "03"))):
        for name in "abc":
            (tmp_path / "tree" / split / name).mkdir(parents=True)
            for number in names:
                (images / name / f"{number}.png").rename(tmp_path / "tree" / split / name / f"{number}.png")
    images.rename(tmp_path / "tree" / "train")
    return tmp_path / "tree"


def missing(root):
    shutil.rmtree(root)


def empty(root):
    missing(root)
    root.mkdir()


def a_file(root):
    missing(root)
    root.write_text("")


def one_class(root):
    for name in "bc":
        shutil.rmtree(root / name)


def empty_class(root):
    for path in (root / "b").iterdir():
        path.unlink()
    (root / "b" / "notes.txt").write_text("no image")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (missing, ["data.root", "images", "no such folder"]),
        (a_file, ["data.root", "no such folder"]),
        (empty, ["data.root", "two class folders"]),
        (one_class, ["data.root", "found 1"]),
        (empty_class, ["images/b", "no images"]),
    ],
)
def test_a_root_that_is_no_image_folder(fails, images, fit_options, tmp_path, spoil, words):
    spoil(images)
    line = fails(*fit_options(images, tmp_path / "runs"))
    for word in words:
        assert word in line
    assert not (tmp_path / "runs").exists()


BAD = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not an image, but long enough to look like a file\n" * 20),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("kind", ["truncated", "empty", "text"])
@pytest.mark.parametrize("storage", ["resident", "stream"])
@pytest.mark.parametrize(("verb", "split"), [("fit", "train"), ("fit", "val"), ("test", "test"), ("validate", "val")])
@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_a_bad_file_is_named_with_its_split(
    run, fails, images, fit_options, tmp_path, trained, kind, storage, verb, split, policy
):
    tree = split_tree(images, tmp_path)
    bad = sorted((tree / split / "b").iterdir())[0]
    BAD[kind](bad)
    options = fit_options(tree, tmp_path / "new", "--data.storage", storage, "--data.on_bad_image", policy)
    if verb != "fit":
        at = options.index("--data")
        options = [verb, "--ckpt_path", str(trained), *options[at:]]
    if policy == "skip" and split == "train":
        assert run(*options) == 0
        assert str(bad) in (tmp_path / "new/r/version_0/skipped_images.txt").read_text()
        return
    line = fails(*options)
    assert str(bad) in line
    assert split in line.replace(str(bad), "")
    assert leftovers(tmp_path) == []
    assert not list(tmp_path.rglob("*_metrics.json"))


@pytest.mark.parametrize("kind", ["truncated", "empty", "text"])
def test_prediction_names_a_bad_file(fails, images, trained, kind):
    BAD[kind](images / "a" / "07.png")
    line = fails("predict", "--ckpt_path", trained, "--data.predict", images, "--data.on_bad_image", "raise")
    assert "a/07.png" in line
    assert "predict" in line.replace(str(images), "")
    assert not (trained / "predictions.jsonl").exists()
    assert leftovers(trained) == []


@pytest.mark.parametrize("given", ["absent", "empty", "*.jpg", "notes.txt", None])
def test_prediction_on_nothing(fails, trained, tmp_path, given):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    more = ("--data.predict", tmp_path / given) if given else ()
    line = fails("predict", "--ckpt_path", trained, *more)
    assert given in line if given else "data.predict" in line
    assert not (trained / "predictions.jsonl").exists()


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_class_that_training_lacks_is_one_line(fails, images, fit_options, tmp_path, split):
    tree = split_tree(images, tmp_path)
    shutil.copytree(tree / split / "b", tree / split / "bb")
    line = fails(*fit_options(tree, tmp_path / "runs"))
    assert "data.root" in line
    assert "'bb'" in line
    assert split in line
    assert not list(tmp_path.glob("runs/r/*"))


@pytest.mark.parametrize("verb", ["test", "validate", "fit"])
def test_class_sets_that_differ_from_the_checkpoints(fails, trained, image_tree, tmp_path, verb):
    image_tree(tmp_path / "others", count=4, classes=("a", "b", "c", "d"))
    assert "class" in fails(verb, "--ckpt_path", trained, "--data.root", tmp_path / "others")


def damaged(path, kind: str) -> None:
    if kind == "absent":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "text":
        path.write_text("hello")
    elif kind == "foreign":
        torch.save({"state_dict": {"w": torch.ones(2)}, "epoch": 1}, path)
    elif kind == "code":
        torch.save(read_checkpoint(path) | {"bomb": Bomb()}, path)
    elif kind == "another task":
        torch.save(read_checkpoint(path) | {"task": "Captioner"}, path)
    elif kind == "other weights":
        checkpoint = read_checkpoint(path)
        checkpoint["state_dict"].popitem()
        torch.save(checkpoint, path)


class Bomb:
    """Makes a folder when unpickled."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("verb", ["fit", "test", "predict"])
@pytest.mark.parametrize(
    "kind", ["absent", "folder", "truncated", "text", "foreign", "code", "another task", "other weights"]
)
def test_a_checkpoint_that_cannot_be_used(fails, trained, trained_images, tmp_path, monkeypatch, verb, kind):
    monkeypatch.chdir(tmp_path)
    path = trained / "checkpoints" / "last.ckpt"
    damaged(path, kind)
    more = ("--trainer.max_epochs", 3) if verb == "fit" else ("--data.predict", trained_images)
    line = fails(verb, "--ckpt_path", path, *more)
    assert str(path) in line
    assert len(line) < 500
    assert not (tmp_path / "exploded").exists()
    assert not list(trained.glob("predictions*"))
    assert leftovers(trained) == []


@pytest.mark.parametrize("blocked", ["runs", "runs/r"])
def test_a_run_directory_that_cannot_be_written(fails, images, fit_options, tmp_path, blocked):
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).write_text("")
    line = fails(*fit_options(images, tmp_path / "runs"))
    assert "default_root_dir" in line
    assert str(tmp_path / "runs") in line


def test_a_resumed_run_that_cannot_be_written(fails, trained, tmp_path):
    moved = tmp_path / "last.ckpt"
    shutil.copy(trained / "checkpoints" / "last.ckpt", moved)
    shutil.rmtree(trained / "checkpoints")
    (trained / "checkpoints").write_text("")
    os.symlink(moved, trained / "link.ckpt")
    line = fails(
        "fit",
        "--ckpt_path",
        moved,
        "--name",
        "r/version_0/checkpoints",
        "--trainer.default_root_dir",
        tmp_path / "runs",
    )
    assert "default_root_dir" in line
