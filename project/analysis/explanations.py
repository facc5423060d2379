"""Which pixels a classifier's answer follows from: Grad-CAM and integrated gradients, by Captum.

Captum is asked for when a map is, since importing it takes seconds and not everyone has it.

Shapes: B images of S × S pixels.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor
from torch.nn import functional

from project.errors import ConfigError
from project.models.backbone import Backbone
from project.tasks import Classifier

INTEGRATION_STEPS = 64
_AT_A_TIME = 64  # images in one pass of integrated gradients


def captum_installed() -> bool:
    """Whether maps can be made."""
    return importlib.util.find_spec("captum") is not None


def require_captum() -> None:
    """Raises a `ConfigError` that says how to install it where it is missing."""
    if not captum_installed():
        raise ConfigError("explanations: need Captum; install it with pip install 'captum>=0.8'")


def grad_cam(classifier: Classifier, images: Tensor, classes: Tensor) -> Tensor | None:
    """Where the last stage's features speak for a class (Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2).

    ReLU(Σ_c α_c A_c), with α_c the mean over places of the logit's gradient at channel c of the feature map A, brought
    to the size of the image bilinearly and divided by its largest value.

    Args:
        classifier: in evaluation mode.
        images: (B, 3, S, S) uint8.
        classes: (B,) int64, the class of each image that is asked about.

    Returns:
        (B, S, S) float32 in 0..1, all 0 where nothing speaks for the class; None where the last stage gives no map, as
        in networks of tokens.

    Raises:
        ConfigError: Captum is not installed.
    """
    require_captum()
    from captum.attr import LayerGradCam

    network = classifier.network
    *_, last = network.stages.values()
    if type(network).as_map is not Backbone.as_map:
        return None
    method = LayerGradCam(classifier.forward, last)
    maps = method.attribute(images.float(), target=classes, relu_attributions=True).detach()
    maps = functional.interpolate(maps.float(), images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    largest = maps.amax((1, 2), keepdim=True)
    return maps / torch.where(largest > 0, largest, 1.0)


def integrated_gradients(classifier: Classifier, images: Tensor, classes: Tensor) -> Tensor:
    """What each pixel adds to a class's logit on the way from black (Sundararajan et al. 2017, arXiv:1703.01365).

    (x - x') · ∫ ∂F(x' + t (x - x')) / ∂x dt (equation 1) with black as x', the integral by 64 points of Gauss and
    Legendre, added up over the colours. All pixels together give what the logit has more than that of black.

    Args:
        classifier: in evaluation mode.
        images: (B, 3, S, S) uint8.
        classes: (B,) int64.

    Returns:
        (B, S, S) float32, in logits.

    Raises:
        ConfigError: Captum is not installed.
    """
    require_captum()
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(classifier.forward)
    found = [
        method.attribute(
            some.float(),
            target=targets,  # of a picture that is black where none is given
            n_steps=INTEGRATION_STEPS,
            method="gausslegendre",
            internal_batch_size=_AT_A_TIME,
        )
        .detach()
        .float()
        .sum(1)
        # Captum takes at least all images of a call at once
        for some, targets in zip(images.split(_AT_A_TIME), classes.split(_AT_A_TIME), strict=True)
    ]
    return torch.cat(found)
