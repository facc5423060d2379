"""Why a classifier answers as it does, of images that were chosen or that it is most wrong about."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from project.analysis.explanations import captum_installed, grad_cam, integrated_gradients
from project.analysis.figures.text import shortened
from project.analysis.report.definitions import DEFINITIONS
from project.analysis.report.document import Block, Note, Picture, Section, Table
from project.analysis.report.robustness import frozen
from project.analysis.report.subject import Subject
from project.analysis.style import SEQUENTIAL, new_figure, picture_axes
from project.data.images import load_square

_SHOWN = 8
_MAPS = ("grad_cam", "integrated_gradients")
_COLUMNS = ("file", "said", "true", "confidence", "true_probability")


def explanation_section(subject: Subject) -> Section:
    """Grad-CAM and integrated gradients of the likeliest class, and of the label where it is another one."""
    if not captum_installed():
        note = Note("Not made: Captum is not installed. Install it with pip install 'captum>=0.8'.")
        return Section("explanations", "Explanations", "", [note])
    names, images, labels, introduction = _chosen(subject) if subject.images else _suggested(subject)
    classifier = subject.classifier
    with torch.no_grad():
        probabilities = classifier.probabilities(images).cpu()
    confidence, said = probabilities.max(1)
    device = classifier.device
    labelled = bool((labels >= 0).all())
    with frozen(classifier):
        maps = [grad_cam(classifier, images, c.to(device)) for c in ((said, labels) if labelled else (said,))]
        gradients = integrated_gradients(classifier, images, said.to(device)).cpu()
    made = [cam.cpu() for cam in maps if cam is not None]
    cams = torch.stack(made, 1) if made else None
    classes = classifier.class_names
    true = [classes[label] if label >= 0 else None for label in labels.tolist()]
    rows = [
        [
            names[i],
            classes[said[i]],
            true[i],
            confidence[i].item(),
            probabilities[i, labels[i]].item() if labels[i] >= 0 else None,
        ]
        for i in range(len(names))
    ]
    titles = [(classes[said[i]], confidence[i].item(), true[i]) for i in range(len(names))]
    figure = explanation_figure(images.cpu(), cams, gradients, titles)
    of_label = " and of the label" if labelled else ""
    text = f"Images in rows; in columns the image, Grad-CAM of the prediction{of_label}, and integrated gradients."
    blocks: list[Block] = [
        Picture.of(
            figure,
            text,
            "Yellow: where features speak for the class. Purple pixels speak for the prediction, "
            "orange ones against it.",
        ),
        Table("images", _COLUMNS, rows, "These images"),
    ]
    blocks += [Note(f"{title}: {text}") for title, text, _ in (DEFINITIONS[name] for name in _MAPS)]
    if cams is None:
        blocks.append(Note("Here is no Grad-CAM: the last stage of this network gives no map."))
    return Section("explanations", "Explanations", introduction, blocks)


def _suggested(subject: Subject) -> tuple[list[str], Tensor, Tensor, str]:
    """The most confident mistakes, and after them the right answers with the least confidence."""
    outcomes = subject.outcomes
    unsure = torch.where(outcomes.correct, outcomes.confidence, 2.0).argsort(stable=True)[: outcomes.correct.sum()]
    rows = torch.cat([outcomes.mistakes()[:_SHOWN], unsure])[:_SHOWN]
    wrong = min(len(outcomes.mistakes()), _SHOWN)
    introduction = f"Mistakes, the most confident first: {wrong} of {len(outcomes.mistakes()):,}." + (
        f" After them the right answers with the least confidence: {len(rows) - wrong}." if wrong < len(rows) else ""
    )
    images = subject.pictures(outcomes.indices[rows])
    return [outcomes.names[row] for row in rows.tolist()], images, outcomes.labels[rows], introduction


def _chosen(subject: Subject) -> tuple[list[str], Tensor, Tensor, str]:
    task = subject.task
    squares = np.stack(
        [load_square(path, task.image_size, task.center_crop, task.value_range) for path in subject.images]
    )
    images = torch.from_numpy(squares).permute(0, 3, 1, 2).to(task.device)
    names = [str(path) for path in subject.images]
    return names, images, torch.full((len(names),), -1), "The images that were asked for; their labels are not known."


def explanation_figure(
    images: Tensor, cams: Tensor | None, gradients: Tensor, titles: list[tuple[str, float, str | None]]
) -> Figure:
    """A row for each image.

    Args:
        images: (n, 3, S, S) uint8.
        cams: (n, 2, S, S) in 0..1, of the prediction and of the label, or (n, 1, S, S) of the prediction, or none.
        gradients: (n, S, S), of the prediction.
        titles: of each image the predicted class, its probability and the label, if it is known.
    """
    cam_heads = ["Grad-CAM, prediction", "Grad-CAM, label"][: 0 if cams is None else cams.shape[1]]
    columns = 2 + len(cam_heads)
    figure, axes = new_figure(1.5 * columns, 1.5 * len(images) + 0.3, len(images), columns)
    for row, (said, confidence, true) in enumerate(titles):
        picture = np.moveaxis(images[row].numpy(), 0, -1)
        first = picture_axes(axes[row, 0])
        first.imshow(picture)
        label = f"{shortened(said)}, {confidence:.0%}" + (f"\nlabel {shortened(true)}" if true is not None else "")
        first.set_title(label, fontsize=8, fontweight="normal", parse_math=False)
        grey = picture.mean(2)
        for place, head in enumerate([*cam_heads, "integrated gradients"], start=1):
            each = picture_axes(axes[row, place])
            if row == 0:
                each.set_title(head, fontsize=8, fontweight="normal")
            if cams is not None and head.startswith("Grad"):
                each.imshow(grey, "gray", vmin=0, vmax=255)
                each.imshow(cams[row, place - 1].numpy(), SEQUENTIAL, vmin=0, vmax=1, alpha=0.6)
            else:
                values = gradients[row].numpy()
                reach = max(np.abs(values).max(), 1e-12)
                each.imshow(values, "PuOr", vmin=-reach, vmax=reach)
    return figure
