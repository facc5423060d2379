"""Which images are explained, and what is said of them."""

from __future__ import annotations

import pytest
import torch

from project.analysis import explanations
from project.analysis.outcomes import Outcomes
from project.analysis.report.explanation import explanation_figure, explanation_section
from project.analysis.style import to_pixels


def test_mistakes_come_first_and_then_what_it_is_least_sure_of(subject):
    own = subject.outcomes
    logits = torch.tensor([[3.0, 0, 0], [0, 2, 0], [0, 0, 1], [4, 0, 0], [0, 5, 0], [0, 0, 6]])
    labels = torch.tensor([0, 1, 2, 1, 0, 2])
    subject.outcomes = Outcomes("test", ["a", "b", "c"], logits, labels, own.indices, own.names)
    section = explanation_section(subject)
    assert [row["file"] for row in section.plain()["images"]] == [own.names[i] for i in (4, 3, 2, 1, 0, 5)]
    assert "2 of 2" in section.introduction
    assert "least confidence: 4" in section.introduction


def test_it_says_what_the_network_says(subject):
    for row in explanation_section(subject).plain()["images"]:
        place = subject.outcomes.names.index(row["file"])
        probabilities = subject.outcomes.probabilities[place]
        assert row["confidence"] == pytest.approx(probabilities.max().item(), abs=1e-5)
        assert row["said"] == "abc"[int(probabilities.argmax())]
        assert row["true"] == row["file"].split("/")[-2]
        assert row["true_probability"] == pytest.approx(probabilities["abc".index(row["true"])].item(), abs=1e-5)


def test_chosen_images_have_no_label(subject, trained_images):
    subject.images = [trained_images / "a" / "00.png", trained_images / "c" / "01.png"]
    rows = explanation_section(subject).plain()["images"]
    assert [row["file"] for row in rows] == [str(path) for path in subject.images]
    assert all(row["true"] is None and row["true_probability"] is None for row in rows)
    assert "of the label" not in explanation_section(subject).blocks[0].text
    answer = subject.task.predict(subject.images)
    assert [row["said"] for row in rows] == [each["label"] for each in answer]


def test_without_captum_the_section_says_how_to_install_it(subject, monkeypatch):
    monkeypatch.setattr(explanations.importlib.util, "find_spec", lambda name: None)
    section = explanation_section(subject)
    assert section.plain() == {}
    assert "pip install 'captum>=0.8'" in section.blocks[0].text


@pytest.mark.parametrize("maps", [2, 1, 0])
def test_the_figure_has_a_row_for_each_image(maps):
    images = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    cams = torch.rand(2, maps, 8, 8) if maps else None
    figure = explanation_figure(images, cams, torch.randn(2, 8, 8), [("$a$", 0.5, "b"), ("c", 1.0, None)])
    heads = ["Grad-CAM, prediction", "Grad-CAM, label"][:maps]  # none of a label that is not known
    assert len(figure.axes) == 2 * (2 + maps)
    assert [axes.get_title() for axes in figure.axes[1 : 2 + maps]] == [*heads, "integrated gradients"]
    assert figure.axes[0].get_title() == "$a$, 50%\nlabel b"
    assert to_pixels(figure).std() > 0
