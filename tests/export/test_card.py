"""A card has every section, says what was measured, and its snippet runs as it stands."""

from __future__ import annotations

import ast
import hashlib
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from markdown_it import MarkdownIt
from PIL import Image

from project.export.about import describe
from project.export.caption import square
from project.export.card import write_card
from project.export.evidence import Evidence
from project.export.parity import Difference, pictures
from project.export.subject import Subject
from tests.hostile import HOSTILE_NAMES, UNPRINTABLE

SECTIONS = [
    "Model details", "Intended use", "Input and output", "How to run it", "Factors", "Metrics", "Evaluation data",
    "Training data", "Recipe", "Parity", "Ethical considerations", "Caveats",
]  # fmt: skip
NOTHING = Evidence({}, {}, {}, "")


def sections(text: str) -> dict[str, str]:
    _, *found = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(found[::2], found[1::2], strict=True))


def card(task, evidence: Evidence = NOTHING, differences: tuple[Difference, ...] = ()) -> dict[str, str]:
    checkpoint = {"hyper_parameters": {"backbone": "small_resnet"}, "epoch": 4}
    subject = Subject(task, Path("best.ckpt"), "c0ffee", checkpoint)
    return sections(write_card(subject, describe(subject), {"x.onnx": b"123"}, list(differences), evidence, "onnx"))


def test_all_that_is_known_is_told(classifier):
    evidence = Evidence(
        {
            "time": "2026-01-02",
            "git": {"commit": "abc123"},
            "data": {split: {"samples": 1234, "fingerprint": split[::-1]} for split in ("train", "val", "test")},
        },
        {"test": ("python -m project test", {"test/accuracy": 0.75, "test/class_accuracy/bee": 0.25, "test/class_accuracy/ant": 1.0, "test/class_accuracy/cow": float("nan")}, "bf16-mixed")},
        {"epochs": 3},
        "Insects",
    )  # fmt: skip
    text = card(classifier(tta="flip"), evidence, (Difference("probabilities", 7, 1.24e-6),))
    assert list(text) == SECTIONS
    details = text["Model details"]
    assert f"`x.onnx`, 3 bytes, sha256 {hashlib.sha256(b'123').hexdigest()}" in details
    assert "best.ckpt, after 5 epochs, sha256 c0ffee" in details
    assert "2026-01-02, commit abc123" in details
    assert f"torch {torch.__version__.partition('+')[0]}" in details
    assert "apart: ant, bee, cow." in text["Intended use"]
    assert "the temperature (0.1) and the views (flip) are inside" in text["Input and output"]
    assert "lowest accuracy: bee (0.2500), ant (1.0000)." in text["Factors"]
    assert "`python -m project test`, in bf16-mixed" in text["Metrics"]
    assert "| test/accuracy | 0.7500 |" in text["Metrics"]
    assert "bee" not in text["Metrics"]
    assert "`validate`: not measured" in text["Metrics"]
    assert text["Evaluation data"].strip().splitlines() == [
        "- val: 1,234 images, fingerprint lav", "- test: 1,234 images, fingerprint tset",
    ]  # fmt: skip
    assert "Insects, 3 classes" in text["Training data"]
    assert "train: 1,234 images, fingerprint niart" in text["Training data"]
    assert "epochs: 3" in text["Recipe"]
    assert "| probabilities | 7 | 1.2e-06 |" in text["Parity"]


def test_what_is_not_known_is_not_made_up(classifier, captioner):
    for task in (classifier(), captioner()):
        text = card(task)
        assert list(text) == SECTIONS
        assert "not measured" in text["Factors"]
        assert text["Metrics"].count("not measured") == 2
        assert "Not recorded" in text["Evaluation data"]
        assert "Licence of the data: Not recorded" in text["Training data"]
        assert "Training began: not recorded" in text["Model details"]
        assert "Not recorded" in text["Recipe"]


@pytest.mark.parametrize("kind", ["classifier", "captioner"])
@pytest.mark.parametrize("format_name", ["onnx", "pt2", "safetensors"])
def test_the_snippet_runs_as_it_stands(exported, tmp_path, monkeypatch, capsys, kind, format_name):
    task, made = exported(kind, format_name)
    folder = Path(shutil.copytree(made, tmp_path / "out"))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "caption", raising=False)
    Image.fromarray(pictures(3, 40)[2].permute(1, 2, 0).numpy()).save("photo.png")
    text = sections((folder / "MODEL_CARD.md").read_text())["How to run it"]
    (snippet,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec(compile(snippet, "snippet", "exec"), {"__name__": "snippet"})
    printed = capsys.readouterr().out
    if format_name == "safetensors":
        assert ast.literal_eval(printed) == task.predict(["photo.png"])
    elif kind == "captioner":
        image = torch.from_numpy(square("photo.png", 16, 1.0))[None]
        with torch.inference_mode():
            ((words, *_),) = task.search([task(image)], greedy=True).word_ids()
        assert ast.literal_eval(printed)["caption"] == " ".join(task.vocabulary.decode(words))
    else:
        (answer,) = task.predict(["photo.png"])
        expected = dict(answer["top5"])
        assert [line.split(": ")[0] for line in printed.splitlines()] == task.class_names
        for line in printed.splitlines():
            name, value = line.split(": ")
            assert float(value) == pytest.approx(expected[name], abs=6e-5)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_write_card_hostile_names_change_nothing_but_the_text(classifier, name):
    """The page has the same elements as with a harmless name."""

    def page(name: str) -> str:
        task = classifier()
        task.hparams["class_names"] = task.class_names = [name, "bee", "cow"]
        found = {f"test/{name}": 0.5, f"test/class_accuracy/{name}": 0.25}
        trained = {"time": name, "git": {"commit": name}, "data": {"val": {"samples": 3, "fingerprint": name}}}
        evidence = Evidence(
            trained, {"test": (f"python -m project test {name}", found, name)}, {"init_from": name}, name
        )
        checkpoint = {"hyper_parameters": {"backbone": name}, "epoch": 4}
        subject = Subject(task, Path(f"{name}.ckpt"), "c0ffee", checkpoint)
        text = write_card(subject, describe(subject), {f"{name}.onnx": b"123"}, [], evidence, "onnx")
        text.encode()
        assert not UNPRINTABLE.search(text.replace("\n", ""))
        return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)

    def elements(page: str) -> list[str]:
        return re.findall("<[^>]*>", page)

    assert elements(page(name)) == elements(page("ant"))


def test_write_card_secrets_of_the_recipe_are_hidden(classifier):
    text = card(classifier(), Evidence({}, {}, {"init_from": "https://u:hunter2@host/w.pt"}, ""))
    assert "https://u:***@host/w.pt" in text["Recipe"]
