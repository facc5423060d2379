"""Teachers: they answer as their own networks do, in the student's order of classes, and nothing changes them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from project.errors import CheckpointError, ConfigError
from project.tasks import Classifier
from project.tasks.teacher import Teacher, open_teacher

NAMES = ["a", "b", "c"]
IMAGES = torch.randint(256, (5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def classifier(seed: int = 0, names: list[str] = NAMES, size: int = 16, **options) -> Classifier:
    torch.manual_seed(seed)
    task = Classifier(names, size, backbone_options={"width": 4}, **options)
    for module in task.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
    return task


def test_one_teacher_answers_as_its_network_does_with_its_own_normalisation():
    member = classifier(mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])
    outputs = Teacher([member], NAMES)(IMAGES, ["stage1"])
    with torch.no_grad():
        normalized = (IMAGES.float() / 255 - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor(
            [0.5, 0.6, 0.7]
        ).view(3, 1, 1)
        maps, features, logits = member.network.eval().forward_with_stages(normalized)
    torch.testing.assert_close(outputs.logits, logits)
    torch.testing.assert_close(outputs.features, features)
    torch.testing.assert_close(outputs.stages["stage1"], maps["stage1"])
    assert list(outputs.stages) == ["stage1"]


def test_several_teachers_are_the_mean_of_their_probabilities():
    members = [classifier(seed) for seed in range(3)]
    found = Teacher(members, NAMES)(IMAGES).logits
    with torch.no_grad():
        expected = torch.stack([member.eval()(IMAGES).double().softmax(1) for member in members]).mean(0)
    torch.testing.assert_close(found.double().exp(), expected, rtol=0, atol=1e-6)


def test_classes_are_brought_into_the_students_order():
    member = classifier(names=["c", "x", "a", "b"])
    found = Teacher([member], NAMES)(IMAGES).logits
    with torch.no_grad():
        torch.testing.assert_close(found, member.eval()(IMAGES)[:, [2, 3, 0]])


def test_images_are_brought_to_the_teachers_size():
    member = classifier(size=24)
    found = Teacher([member], NAMES)(IMAGES).logits
    with torch.no_grad():
        resized = functional.interpolate(IMAGES.float(), (24, 24), mode="bilinear", antialias=True)
        torch.testing.assert_close(found, member.network.eval()(member.normalize(resized)))


def test_a_teacher_learns_nothing_and_stays_as_it_is():
    member = classifier().train()
    teacher = Teacher([member], NAMES)
    before = teacher.fingerprint()
    outputs = teacher(IMAGES.expand(5, 3, 16, 16))
    _ = teacher.shapes, teacher.head
    assert not outputs.logits.requires_grad
    assert not any(parameter.requires_grad for parameter in member.parameters())
    assert not any(module.training for module in member.modules())
    assert teacher.fingerprint() == before
    member.network.head.bias.data += 1
    assert teacher.fingerprint() != before


def test_other_classes_are_one_line():
    with pytest.raises(CheckpointError, match="does not know 'c'; there is a, b"):
        Teacher([classifier(names=["a", "b"])], NAMES)


def test_a_run_or_a_checkpoint_is_opened_with_the_accuracy_that_it_recorded(trained):
    for source in (trained, trained / "checkpoints" / "best.ckpt"):
        member = open_teacher(str(source), NAMES, 12)
        assert isinstance(member, Classifier)
        assert 0 < member.recorded_accuracy <= 1


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("absent", CheckpointError, "model.teacher: absent: there is no such checkpoint or run"),
        (
            "teacher.yaml",
            ConfigError,
            "model.teacher: teacher.yaml is a configuration; the command `fit` trains it first",
        ),
        ("resnet18:V9", ConfigError, "model.weights: there is no 'V9' for resnet18"),
        ("resnet18:IMAGENET1K_V1", CheckpointError, "does not know 3 of the 3 classes"),
    ],
)
def test_what_is_no_teacher_is_one_line(source, error, message):
    with pytest.raises(error, match=message):
        open_teacher(source, NAMES, 12)


def test_a_captioner_is_no_teacher_of_classifiers(run, captioned, caption_options, tmp_path):
    assert run(*caption_options(captioned, tmp_path / "runs", "--trainer.max_epochs", 1)) == 0
    with pytest.raises(CheckpointError, match="holds a Captioner; a Classifier is needed"):
        open_teacher(str(tmp_path / "runs" / "c" / "version_0"), NAMES, 12)
