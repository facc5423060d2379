"""Weights go through the file bit for bit, and what is no such file is refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load, save_file

from project.errors import CheckpointError
from project.export import load_safetensors
from project.export.about import describe
from project.export.parity import pictures
from project.export.subject import open_subject
from project.export.weights import to_safetensors


def written(task, saved, tmp_path):
    subject = open_subject(str(saved(task)))
    path = tmp_path / "x.safetensors"
    path.write_bytes(to_safetensors(subject, describe(subject)))
    return path


@torch.inference_mode()
def test_a_classifier_comes_back_bit_for_bit(classifier, saved, tmp_path):
    task = classifier(tta="flip", class_weights=[1.0, 2.0, 3.0])
    path = written(task, saved, tmp_path)
    found = load_safetensors(path)
    assert type(found) is type(task)
    assert dict(found.hparams) == dict(task.hparams)
    assert found.state_dict().keys() == task.state_dict().keys()
    for name, value in task.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)
    images = pictures(5, 16)
    assert torch.equal(found.probabilities(images), task.probabilities(images))
    assert load(path.read_bytes()).keys() == task.state_dict().keys()


@torch.inference_mode()
def test_a_captioner_with_tied_weights(captioner, saved, tmp_path):
    task = captioner({"beam_size": 2, "num_hypotheses": 2}, tie_embeddings=True)
    found = load_safetensors(written(task, saved, tmp_path))
    decoder = found.network.decoders[0]
    assert decoder.output.weight is decoder.embedding.weight
    assert found.answers(pictures(3, 16)) == task.answers(pictures(3, 16))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no such file$"),
        (lambda path: path.write_bytes(b"{}"), "not a safetensors file, or a damaged one"),
        (lambda path: save_file({"a": torch.zeros(1)}, path), "does not say what network its weights are of"),
        (
            lambda path: save_file(
                {"a": torch.zeros(1)}, path, {"task": "os.system", "hyper_parameters": json.dumps({})}
            ),
            "does not say what network",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, make, message):
    path = tmp_path / "x.safetensors"
    make(path)
    with pytest.raises(CheckpointError, match=rf"x\.safetensors: {message}"):
        load_safetensors(path)
