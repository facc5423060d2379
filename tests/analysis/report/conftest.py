"""Subjects of reports: a classifier of three classes of noise, and a captioner of coloured shapes."""

from __future__ import annotations

import pytest

from project.analysis.report.subject import Subject
from project.data import ImageFolder, KarpathyCaptions
from project.tasks import Captioner, Classifier


@pytest.fixture
def subject(trained, trained_images) -> Subject:
    """The run `trained` with its images."""
    checkpoint = trained / "checkpoints" / "best.ckpt"
    data = ImageFolder(root=str(trained_images), image_size=12)
    return Subject(Classifier.load_from_checkpoint(checkpoint), data, checkpoint)


@pytest.fixture
def caption_subject(captioner_run, captioned) -> Subject:
    """A small captioner with its images."""
    checkpoint = captioner_run / "checkpoints" / "best.ckpt"
    data = KarpathyCaptions(
        annotations=str(captioned / "captions.json"), images=str(captioned), image_size=16, max_words=8
    )
    return Subject(Captioner.load_from_checkpoint(checkpoint), data, checkpoint)
