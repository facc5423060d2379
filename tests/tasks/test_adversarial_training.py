"""Training on images that are moved to be misread."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from project.data import Digits
from project.data.images import to_rgb, to_square
from project.errors import ConfigError
from project.losses.adversarial import pgd
from project.tasks import Classifier
from project.tasks.adversarial_training import AdversarialTraining


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": -1}, "model.adversarial.epsilon: must lie in 0..255; got -1"),
        ({"epsilon": float("nan")}, "model.adversarial.epsilon: must lie in 0..255; got nan"),
        ({"epsilon": 8, "steps": 0}, "model.adversarial.steps: must be at least 1; got 0"),
        ({"epsilon": 8, "step_size": 0.0}, "model.adversarial.step_size: must be above 0; got 0.0"),
    ],
)
def test_a_value_out_of_range_is_one_line(options, message):
    with pytest.raises(ConfigError) as caught:
        AdversarialTraining(**options)
    assert str(caught.value) == message


def test_it_is_off_unless_it_is_asked_for():
    assert not AdversarialTraining()
    assert AdversarialTraining(epsilon=1)


@pytest.mark.parametrize(("steps", "step_size", "expected"), [(1, None, 10.0), (5, None, 4.0), (5, 3.0, 3.0)])
def test_the_default_steps_reach_every_corner(steps, step_size, expected):
    images = torch.full((2, 3, 4, 4), 128.0)
    torch.manual_seed(0)
    found = AdversarialTraining(8.0, steps, step_size)(lambda images: images.square().sum(), images)
    torch.manual_seed(0)
    assert torch.equal(found, pgd(lambda images: images.square().sum(), images, 8.0, expected, steps))


def test_it_does_not_go_with_sharpness_aware_minimisation():
    with pytest.raises(ConfigError, match=r"model\.adversarial, model\.sam"):
        Classifier(["a", "b"], 8, sam=0.1, adversarial=AdversarialTraining(epsilon=8))


@pytest.mark.slow
def test_a_network_trained_on_moved_images_is_fooled_less(run, tmp_path):
    """On digits, real ones: of 359, moved by up to 16, it reads most, and a network trained as usual not half."""
    test = Digits().splits["test"]
    squares = np.stack([to_square(to_rgb(Image.fromarray(image)), 16, 1.0) for image in test.images])
    images, labels = torch.from_numpy(squares).permute(0, 3, 1, 2), torch.from_numpy(test.labels)
    found = {}
    for name, epsilon in (("plain", 0), ("robust", 16)):
        assert run("fit", "--config", "configs/classifier/digits.yaml", "--trainer.max_epochs", 6, "--name", name,
                   "--trainer.default_root_dir", tmp_path, "--model.adversarial.epsilon", epsilon,
                   "--model.adversarial.steps", 2) == 0  # fmt: skip
        task = Classifier.load_from_checkpoint(tmp_path / name / "version_0" / "checkpoints" / "last.ckpt")
        moved = pgd(lambda x, task=task: cross_entropy(task(x), labels, reduction="sum"), images, 16, 4, 10,
                    torch.Generator().manual_seed(0))  # fmt: skip
        found[name] = (task(moved).argmax(1) == labels).float().mean().item()
    assert found["plain"] < 0.6
    assert found["robust"] > 0.75


def test_a_distiller_refuses_it(fails, images, fit_options, trained, tmp_path):
    options = fit_options(images, tmp_path / "runs", "--model.adversarial.epsilon", 8)
    options[options.index("Classifier")] = "Distiller"
    assert fails(*options, "--model.teacher", trained).startswith("error: model.adversarial: a teacher is asked about")
