"""What sections share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from project.analysis.report.subject import Subject
from project.data import Digits
from project.data.images import load_square
from project.errors import DataError
from project.tasks import Classifier


def test_pictures_are_those_of_the_places(subject):
    places = torch.tensor([4, 0, 3, 0, 4])  # of a small split the best are among the worst
    pictures = subject.pictures(places)
    for picture, place in zip(pictures, places.tolist(), strict=True):
        expected = load_square(subject.data.splits["test"].images[place], 12, 1.0)
        assert (np.moveaxis(picture.numpy(), 0, -1) == expected).all()
        assert subject.names[place] == str(subject.data.splits["test"].images[place])


def test_some_are_drawn_once_by_the_seed():
    data = Digits(image_size=8)
    subject = Subject(Classifier(data.class_names, 8, backbone_options={"width": 4}), data, None)
    assert subject.num_samples == 359
    assert subject.some(400).tolist() == list(range(359))
    few = subject.some(50)
    assert len(set(few.tolist())) == 50
    assert few.tolist() == sorted(few.tolist()) == subject.some(50).tolist()
    other = Subject(subject.task, data, None, seed=1)
    assert other.some(50).tolist() != few.tolist()


def test_groups_are_those_of_the_data_or_of_a_table(subject, trained_images, tmp_path):
    assert subject.groups == {}
    rows = [f"{path},{'even' if int(path.stem) % 2 == 0 else 'odd'},same" for path in trained_images.rglob("*.png")]
    subject.groups_file = tmp_path / "groups.csv"
    subject.groups_file.write_text("\n".join(["path,number,all", *rows]))
    del subject.groups
    assert list(subject.groups) == ["number"]  # an attribute of one value makes no groups
    groups = subject.groups["number"]
    assert groups.names == ["even", "odd"]
    for column, name in enumerate(subject.names):
        assert groups.members[:, column].tolist() == [int(name[-5]) % 2 == 0, int(name[-5]) % 2 == 1]


def test_a_wrong_table_is_the_users(subject, tmp_path):
    subject.groups_file = tmp_path / "absent.csv"
    with pytest.raises(DataError, match="--groups"):
        _ = subject.groups
