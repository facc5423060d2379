"""One small recipe of each task, with everything on that is random or has a state, and its run as nothing disturbs it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.faults.commands import Command
from tests.faults.outcomes import EPOCHS, assert_same_run

_COMMON = {
    "trainer.max_epochs": EPOCHS, "trainer.log_every_n_steps": 5, "trainer.accelerator": "cpu", "trainer.devices": 1,
    "trainer.precision": "32-true", "checkpoint.recovery_minutes": 0, "ema.decay": 0.9, "data.augment.flip": "true",
    "data.augment.crop": 2, "watch.pictures": 0,  # or their file would be larger than a checkpoint, and some faults hit it
    "trainer.callbacks": [{"class_path": "tests.faults.places.PauseAt"}],
}  # fmt: skip
_IMAGES = {
    "data": "ImageFolder", "data.image_size": 12, "data.batch_size": 2, "data.eval_batch_size": 2,
    "data.augment.erase": 0.5, "model.backbone": "dropout_net",
}  # fmt: skip
_CAPTIONS = {
    "data": "KarpathyCaptions", "data.image_size": 16, "data.max_words": 8, "data.batch_size": 1, "data.eval_batch_size": 5,
    "data.captions_per_image": 1, "model.backbone": "dropout_net", "model.decoder.dropout": 0.5,
    "model.decoding.beam_size": 2, "model.decoding.num_hypotheses": 2,
}  # fmt: skip
_OWN = {
    "Classifier": _IMAGES | {"data.storage": "stream", "data.num_workers": 2, "data.augment.mixup": 0.2},
    "Distiller": _IMAGES | {
        "model.allowed_drop": 1, "model.losses": [
            {"name": "kd"}, {"name": "crd", "options": {"size": 4, "negatives": 8}}, {"name": "vid", "weight": 0.1},
        ],
    },
    "Captioner": _CAPTIONS | {
        "model.decoder.embedding_size": 12, "model.decoder.hidden_size": 16, "model.attention_penalty": 0.1,
        "model.scheduled_sampling": {"probability": 0.5, "epochs": 2},
    },
    "CaptionDistiller": _CAPTIONS | {
        "model.decoder.embedding_size": 8, "model.decoder.hidden_size": 12, "model.sequence_weight": 0.5,
        "model.sequence_beam": 2,
    },
}  # fmt: skip
_TEACHERS = {"Distiller": "Classifier", "CaptionDistiller": "Captioner"}


@pytest.hookimpl(tryfirst=True)  # before the markers are looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder has the marker."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(autouse=True)
def _promise(request, record_property):
    """The report says which promise each test is of."""
    record_property("promise", request.module.PROMISE)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory, image_tree) -> Path:
    """16, 2 and 2 images of each of three classes, split; not to be written to."""
    folder = tmp_path_factory.mktemp("faults") / "images"
    for split, count in (("train", 16), ("val", 2), ("test", 2)):
        image_tree(folder / split, count)
    return folder


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Command]]:
    """Starts a command: (args, further arguments of `Command`); none outlives the test."""
    started = []

    def begin(args: list[Any], **options: Any) -> Command:
        started.append(Command([*map(str, args), "--progress", "none"], tmp_path, **options))
        return started[-1]

    yield begin
    for command in started:
        command.close()


@pytest.fixture
def mends(start) -> Callable[..., str]:
    """Runs a command that must end with status 2 and one line; returns the line."""

    def run_and_read(args: list[Any], **options: Any) -> str:
        command = start(args, **options)
        assert command.wait() == 2, command.output
        assert "Traceback" not in command.output
        lines = [line for line in command.output.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, command.output
        assert len(lines[0]) < 600
        return lines[0]

    return run_and_read


class Wholes:
    """The recipes, and of each the run that nothing disturbed, which takes place when it is first asked for."""

    def __init__(self, folder: Path, image_folder: Path, captioned: Path) -> None:
        self.folder = folder
        self._seconds: dict[str, float] = {}
        self._data = (
            {"data.root": image_folder},
            {"data.annotations": captioned / "captions.json", "data.images": captioned},
        )

    def options(self, task: str, root: Path, more: Mapping[str, Any] = {}) -> list[str]:
        """The arguments of its fit below `root`; its run is called `r`."""
        data = self._data["Caption" in task]
        teacher = {"model.teacher": self.run(_TEACHERS[task])} if task in _TEACHERS else {}
        where = {"trainer.default_root_dir": root, "name": "r", "data.cache_dir": self.folder / "cache"}
        # a class comes before its options
        options = {"model": task, "data": None} | _COMMON | _OWN[task] | teacher | data | where | more
        return ["fit", *(text for name, value in options.items() for text in (f"--{name}", _text(value)))]

    def run(self, task: str) -> Path:
        """The directory of the run; not to be written to."""
        root = self.folder / task
        if not root.exists():
            options = self.options(task, root)  # which may run its teacher
            began = time.monotonic()
            command = Command(options, self.folder)
            assert command.wait() == 0, command.output
            self._seconds[task] = time.monotonic() - began
        return root / "r" / "version_0"

    def seconds(self, task: str) -> float:
        """How long that run took."""
        self.run(task)
        return self._seconds[task]


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


@pytest.fixture(scope="session")
def wholes(tmp_path_factory, image_folder, captioned) -> Wholes:
    """See `Wholes`."""
    return Wholes(tmp_path_factory.mktemp("wholes"), image_folder, captioned)


@pytest.fixture
def fit(start, wholes, tmp_path) -> Callable[..., Command]:
    """Starts the fit of a recipe below the test's folder: (task, pause_at, more options, arguments of `Command`)."""

    def begin(task: str, pause_at: str = "", more: Mapping[str, Any] = {}, **options: Any) -> Command:
        environment = {"PAUSE_AT": pause_at, **options.pop("environment", {})}
        return start(wholes.options(task, tmp_path / "runs", more), environment=environment, **options)

    return begin


@pytest.fixture
def directory(tmp_path) -> Path:
    """Where the first run of `fit` lies."""
    return tmp_path / "runs" / "r" / "version_0"


@pytest.fixture
def ends_as_whole(fit, wholes, directory) -> Callable[..., None]:
    """Goes on with a run that something stopped, as a scheduler would, and asserts that the end is as if nothing had.

    (task, more options).
    """

    def go_on(task: str, more: Mapping[str, Any] = {}) -> None:
        command = fit(task, more={"ckpt_path": "auto"} | more)
        assert command.wait() == 0, command.output
        assert_same_run(directory, wholes.run(task))
        assert [path.name for path in directory.parent.iterdir()] == ["version_0"]

    return go_on
