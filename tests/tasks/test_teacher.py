"""Teachers answer as their own networks do, shown the images their own way, and nothing changes them."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models import ResNet18_Weights, ShuffleNet_V2_X0_5_Weights, shufflenet_v2_x0_5

from project.errors import CheckpointError, ConfigError
from project.models.captioning import DecoderOptions
from project.runs.checkpoints import read_checkpoint
from project.tasks import Captioner, Classifier, Distiller
from project.tasks.averaged_teacher import AveragedTeacher
from project.tasks.student import check_measured
from project.tasks.teacher import Teacher, open_teacher

NAMES = ["a", "b", "c", "d"]


def member(seed: int = 0, names: list[str] = NAMES, size: int = 16, **options: object) -> Classifier:
    """A classifier that says different things of different images, with the statistics of one that has learned."""
    torch.manual_seed(seed)
    task = Classifier(names, size, **{"backbone_options": {"width": 4}} | options)
    for module in task.network.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    torch.nn.init.normal_(task.network.head.weight, std=2)
    return task


def images(count: int = 6, size: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def save(task: Classifier | Captioner, path: Path, **more: object) -> str:
    facts = {"task": type(task).__name__, "hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}
    torch.save(facts | more, path)
    return str(path)


def at_size(pixels: np.ndarray, size: int) -> np.ndarray:
    """Squares (B, 3, S, S) at another size: each new pixel the old ones under a triangle, which widens when shrinking."""
    old = pixels.shape[-1]
    scale = old / size
    centres = (np.arange(size) + 0.5) * scale
    weights = np.maximum(0, 1 - abs(np.arange(old) + 0.5 - centres[:, None]) / max(scale, 1))
    weights /= weights.sum(1, keepdims=True)
    return np.einsum("pi,bcij,qj->bcpq", weights, pixels, weights)


def reference(task: Classifier, pixels: Tensor, names: list[str] = NAMES) -> dict[str, Tensor]:
    """What a network says in float64, of images that were resized and normalised by hand."""
    values = at_size(pixels.double().numpy(), task.image_size)
    mean, std = (np.array(task.hparams[name])[:, None, None] for name in ("mean", "std"))
    normalised = torch.from_numpy((values / 255 - mean) / std)
    network = copy.deepcopy(task.network).double().eval()
    with torch.no_grad():
        logits = network(normalised)[:, [task.class_names.index(name) for name in names]]
        return {"logits": logits, "features": network.features(normalised), **network.forward_stages(normalised)}


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


# ---- what they say


@pytest.mark.parametrize("size", [16, 8, 12, 20])
@pytest.mark.parametrize("numbers", [{}, {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.25, 1.0]}])
def test_one_says_what_its_network_says_at_its_own_size_and_with_its_own_normalisation(size, numbers):
    task = member(size=size, **numbers)
    found = Teacher([task], NAMES)(images(), ("stage1",))
    expected = reference(task, images())
    assert_close(found.logits, expected["logits"])
    assert_close(found.features, expected["features"])
    assert found.stages.keys() == {"stage1"}
    assert_close(found.stages["stage1"], expected["stage1"])


@pytest.mark.parametrize("names", [["d", "b", "a", "c"], ["z", "d", "c", "y", "b", "a", "x"]], ids=["order", "more"])
def test_classes_are_brought_into_the_students_order(names):
    task = member(names=names)
    found = Teacher([task], NAMES)(images()).logits
    assert_close(found, reference(task, images())["logits"])
    with torch.no_grad():
        assert not torch.equal(found, task(images())[:, :4])


def test_it_computes_in_a_precision_of_its_own_whatever_the_student_does():
    task = member().eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        coarse = task.network(task.normalize(images()))
    fine = Teacher([task], NAMES)(images()).logits
    assert coarse.dtype is torch.bfloat16
    for precision, expected in {"bf16-mixed": coarse, "32-true": fine, None: coarse}.items():
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(Teacher([task], NAMES, precision)(images()).logits, expected)
    for precision, expected in {"bf16-mixed": coarse, "32-true": fine, None: fine}.items():
        assert torch.equal(Teacher([task], NAMES, precision)(images()).logits, expected)
    assert torch.equal(AveragedTeacher(task, 0.9, "bf16-mixed")(images()).logits, coarse)


def test_several_are_the_mean_of_their_probabilities():
    tasks = [member(0), member(1, size=12, mean=[0.3] * 3), member(2, ["d", "x", "b", "a", "c"])]
    found = Teacher(tasks, NAMES)(images()).logits
    expected = sum(reference(task, images())["logits"].softmax(1) for task in tasks) / 3
    torch.testing.assert_close(found.double().exp(), expected, rtol=1e-4, atol=1e-6)


def test_several_that_are_certain_of_different_things_stay_finite():
    tasks = [member(0), member(1)]
    for task, certain in zip(tasks, (0, 3), strict=True):
        torch.nn.init.zeros_(task.network.head.weight)
        task.network.head.bias.data = torch.eye(4)[certain] * 1e4
    found = Teacher(tasks, NAMES)(images())
    assert torch.isfinite(found.logits).all()
    torch.testing.assert_close(found.logits.exp(), torch.tensor([[0.5, 0, 0, 0.5]]).expand(6, 4))


def test_sizes_are_those_of_the_outputs():
    teacher = Teacher([member(size=12, names=[*NAMES, "e"])], NAMES)
    shapes, found = teacher.shapes, teacher(images(), teacher.shapes.stages)
    assert shapes.num_features == found.features.shape[1]
    assert list(shapes.stages.items()) == [(name, tuple(stage.shape[1:])) for name, stage in found.stages.items()]
    path = "stages.stage2.0"
    teacher.watch([path])
    assert shapes.modules[path] == tuple(teacher(images(), [path]).stages[path].shape[1:])
    several = Teacher([member(), member(1)], NAMES)
    assert (several.shapes.num_features, several.shapes.stages, several.shapes.modules) == (0, {}, {})
    assert several.head is None


@pytest.mark.parametrize("names", [NAMES, ["d", "b", "a", "x", "c"]], ids=["same", "others"])
def test_the_head_reads_a_map_in_the_students_classes(names):
    task = member(names=names)
    teacher, before = Teacher([task], NAMES), task.network.head.weight.detach().clone()
    found = teacher(images(), ("stage2",))
    with torch.no_grad():
        torch.testing.assert_close(teacher.head(found.stages["stage2"]), found.logits)
    assert torch.equal(task.network.head.weight, before)


def test_the_head_of_squeezenet_reads_each_position():
    task = member(names=["d", "b", "a", "x", "c"], size=32, backbone="squeezenet1_1", backbone_options={})
    teacher = Teacher([task], NAMES)
    found = teacher(images(size=32), ("block4",))
    torch.testing.assert_close(teacher.head(found.stages["block4"]), found.logits)
    assert not torch.allclose(task.network.head(found.features)[:, [2, 1, 4, 0]], found.logits)


# ---- what they stay


def test_nothing_changes_one():
    task = member().train()
    teacher = Teacher([task], NAMES)
    state = {name: value.clone() for name, value in task.state_dict().items()}
    before, said = teacher.fingerprint(), teacher(images()).logits
    for look in (lambda: teacher.shapes, lambda: teacher.head, lambda: teacher(images(30)), teacher.fingerprint):
        look()
        assert teacher.fingerprint() == before
        assert not any(module.training for module in task.modules())
    assert all(torch.equal(value, state[name]) for name, value in task.state_dict().items())
    assert torch.equal(teacher(images()).logits, said)


def test_no_gradient_reaches_one():
    task = member()
    teacher = Teacher([task], NAMES)
    with torch.enable_grad():
        found = teacher(images(), ("stage1",))
    assert not any(tensor.requires_grad for tensor in (found.logits, found.features, found.stages["stage1"]))
    assert not any(parameter.requires_grad for parameter in task.parameters())


def test_dropout_is_off():
    task = member()
    task.network.stages["stage1"] = torch.nn.Sequential(task.network.stages["stage1"], torch.nn.Dropout(0.5)).train()
    teacher = Teacher([task], NAMES)
    assert torch.equal(teacher(images()).logits, teacher(images()).logits)


def test_a_fingerprint_is_of_statistics_too():
    one, other = member(), member()
    assert Teacher([one], NAMES).fingerprint() == Teacher([other], NAMES).fingerprint()
    next(m for m in other.modules() if isinstance(m, _BatchNorm)).running_mean[0] += 1e-5
    assert Teacher([one], NAMES).fingerprint() != Teacher([other], NAMES).fingerprint()


# ---- where they come from


def test_a_run_or_its_checkpoint_is_opened_with_the_accuracy_that_it_recorded(trained):
    best = trained / "checkpoints" / "best.ckpt"
    saved = read_checkpoint(best)
    recorded = saved["callbacks"]["SaveCheckpoints"]["best_value"]
    for source in (trained, best):
        found = open_teacher(str(source), ["a", "b", "c"], 12)
        assert found.recorded_best == {"val/accuracy": recorded}
        assert all(torch.equal(value, saved["state_dict"][name]) for name, value in found.state_dict().items())
    with pytest.raises(
        CheckpointError, match=rf"^model\.teacher: x: accuracy 0\.0000 .* found {recorded:.4f}; are data"
    ):
        check_measured("x", found, "accuracy", 0.0, recorded - 0.01)
    check_measured("x", found, "accuracy", 0.0, recorded)


@pytest.mark.parametrize("saved", [{}, {"SaveCheckpoints": {"monitor": "val/loss", "best_value": 0.5, "best_step": 1}}])
def test_what_is_no_accuracy_is_not_taken_for_one(tmp_path, saved):
    source = save(member(), tmp_path / "t.ckpt", callbacks=saved)
    check_measured("x", open_teacher(source, NAMES, 16), "accuracy", 0.0, 0.0)


def wrong_classes(folder: Path, trained: Path) -> None:
    Teacher([open_teacher(str(trained), ["a", "b", "cat"], 12)], ["a", "b", "cat"])


def a_captioner(folder: Path, trained: Path) -> None:
    decoder = DecoderOptions(embedding_size=8, hidden_size=8)
    task = Captioner(["red"], 3, 16, backbone_options={"width": 4}, decoder=decoder)
    open_teacher(save(task, folder / "captioner.ckpt"), NAMES, 16)


def a_simkd_student(folder: Path, trained: Path) -> None:
    task = Distiller(NAMES, 16, "its.ckpt", [{"name": "simkd"}], backbone_options={"width": 4})
    open_teacher(save(task, folder / "student.ckpt"), NAMES, 16)


def an_empty_run(folder: Path, trained: Path) -> None:
    shutil.rmtree(trained / "checkpoints")
    open_teacher(str(trained), NAMES, 16)


NONE = "there is no such checkpoint or run; give one, a classifier's configuration, or pretrained weights such as "


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (wrong_classes, r"tells 3 classes apart, and the student 3; it does not know 'cat'; did you mean 'c'\?$"),
        (a_captioner, r".*captioner\.ckpt holds a Captioner; a Classifier is needed$"),
        (a_simkd_student, r".* answers through its own teacher's classifier \(simkd\); give that teacher, its\.ckpt$"),
        (an_empty_run, r".*: the folder is no run with a checkpoints/best\.ckpt$"),
        ("none.ckpt", rf"none\.ckpt: {NONE}resnet34:IMAGENET1K_V1$"),
        ("c:none.ckpt", rf"c:none\.ckpt: {NONE}resnet34:IMAGENET1K_V1$"),
        ("big.yaml", "big.yaml is a configuration; the command `fit` trains it first, elsewhere give its run or"),
        ("resnet81:DEFAULT", rf"resnet81:DEFAULT: {NONE}"),
        ("resnet18:IMAGENET1K_V7", r"there is no 'IMAGENET1K_V7' for resnet18; did you mean 'IMAGENET1K_V1'\?$"),
        ("resnet20:DEFAULT", "resnet20 has no pretrained weights; leave out 'DEFAULT'$"),
        ("resnet18:DEFAULT", "resnet18:DEFAULT does not know 4 of the 4 classes; did you mean "),
    ],
)
def test_what_is_no_teacher_is_said_in_one_line(source, message, tmp_path, trained):
    with pytest.raises((CheckpointError, ConfigError), match=r"^model\.teacher: " + message) as raised:
        source(tmp_path, trained) if callable(source) else open_teacher(source, NAMES, 16)
    assert "\n" not in str(raised.value)


@pytest.fixture
def weights(tmp_path, monkeypatch) -> dict[str, Tensor]:
    """What torchvision would download lies in its cache."""
    torch.manual_seed(3)
    state = shufflenet_v2_x0_5().state_dict()
    path = tmp_path / "hub" / "checkpoints" / Path(ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1.url).name
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return state


@pytest.mark.parametrize("names", [["goldfish", "tench", "toilet tissue"], [f"n{i:08}" for i in range(1000)]])
def test_pretrained_weights_answer_in_the_students_classes(weights, names):
    """Classes by their names, some of them, or all by WordNet's numbers in the weights' own order."""
    teacher = Teacher([open_teacher("shufflenet_v2_x0_5:IMAGENET1K_V1", names, 80)], names)
    theirs = shufflenet_v2_x0_5()
    theirs.load_state_dict(weights)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        expected = theirs.eval()((images(2, 80) / 255 - mean) / std)
    places = [1, 0, 999] if len(names) == 3 else list(range(1000))
    torch.testing.assert_close(teacher(images(2, 80)).logits, expected[:, places], rtol=1e-4, atol=1e-5)
    check_measured("x", teacher.members[0], "accuracy", 0.0, 0.0)


def test_pretrained_weights_that_cannot_be_had_are_the_teachers(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    damaged = tmp_path / "hub" / "checkpoints" / Path(ResNet18_Weights.DEFAULT.url).name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"PK damaged")
    with pytest.raises(ConfigError, match=r"^model\.teacher: ResNet18_Weights\.IMAGENET1K_V1 cannot be loaded \("):
        open_teacher("resnet18:DEFAULT", ["tench", "goldfish"], 32)
