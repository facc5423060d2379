"""A captioner in another language than English: trained, measured, asked and opened again with one tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from project.analysis.caption_outcomes import collect_captions
from project.cli import main
from project.data import CaptionTable, KarpathyCaptions
from project.errors import DataError
from project.runs.checkpoints import read_checkpoint
from project.tasks import Captioner

SIDES, COLOURS = ("左边", "右边"), {"红色": (255, 0, 0), "蓝色": (0, 0, 255), "绿色": (0, 255, 0)}
OPTIONS = {"image_size": 16, "batch_size": 8}


@pytest.fixture
def chinese(tmp_path) -> Path:
    """A Karpathy file of crosses whose texts are not segmented and whose tokens are, with its images."""
    images = []
    for split in ("train", "train", "train", "val", "test"):
        for side, place in zip(SIDES, (0, 8), strict=True):
            for colour, rgb in COLOURS.items():
                pixels = np.full((16, 16, 3), 10 * len(images) % 50, np.uint8)
                pixels[:, place : place + 8] = rgb
                Image.fromarray(pixels).save(tmp_path / f"{len(images)}.png")
                words = [side, "一个", colour, "的", "十字"]
                sentence = {"raw": "".join(words) + "。", "tokens": words}
                images.append({"filename": f"{len(images)}.png", "split": split, "sentences": [sentence]})
    (tmp_path / "chinese.json").write_text(json.dumps({"images": images}))
    return tmp_path / "chinese.json"


def data_of(file: Path, **options) -> KarpathyCaptions:
    return KarpathyCaptions(str(file), str(file.parent), cache_dir=str(file.parent / "cache"), **OPTIONS, **options)


def captioner_of(data, **options) -> Captioner:
    torch.manual_seed(0)
    return Captioner(
        vocabulary=data.vocabulary, max_words=data.max_words, image_size=16, backbone="simple_cnn", lr_scheduler=None,
        optimizer=lambda p: torch.optim.AdamW(p, lr=5e-3), **options,
    )  # fmt: skip


def trainer(**options) -> Trainer:
    return Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, use_distributed_sampler=False,
        enable_model_summary=False, **options,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_perfect_captions_score_as_perfect_from_python(chinese):
    data = data_of(chinese)
    task, run = captioner_of(data), trainer(max_epochs=40, check_val_every_n_epoch=40, num_sanity_val_steps=0)
    run.fit(task, data)
    run.test(task, data)
    assert task.tokenizer == "given"
    perfect = {"exact_match": 1, "rouge_l": 1, "bleu_4": 1, "cider_d": 10, "novel_captions": 0, "mean_length": 5}
    for name, value in perfect.items():
        assert task.results[f"test/{name}"] == pytest.approx(value, abs=1e-6), name
        assert task.results[f"test/greedy_{name}"] == pytest.approx(value, abs=1e-6), name
    found = collect_captions(task, data)
    assert found.scores["cider_d"] == pytest.approx(10)
    (answer,) = task.predict([chinese.parent / "0.png"])
    assert answer["caption"] == task.readable(found.references[0][0]) == "左边一个红色的十字"
    assert [word["word"] for word in answer["words"]] == ["左边", "一个", "红色", "的", "十字"]

    (chinese.parent / "other.csv").write_text(
        "path,caption\n" + "".join(f"{i}.png,左边一个红色的十字\n" for i in range(30))
    )
    table = CaptionTable(str(chinese.parent / "other.csv"), cache_dir=str(chinese.parent / "cache"), **OPTIONS)
    with pytest.raises(DataError, match=r"^data\.tokenizer: unicode, and the captioner's words are those of given; "):
        task.check_data(table)


def test_the_tokenizer_lies_in_the_checkpoint_and_goes_with_every_command(chinese, tmp_path, capsys):
    options = [
        "--data", "KarpathyCaptions", "--data.annotations", chinese, "--data.images", tmp_path, "--data.image_size", 16,
        "--data.cache_dir", tmp_path / "cache", "--model.backbone", "simple_cnn", "--trainer.accelerator", "cpu",
        "--trainer.max_epochs", 1, "--trainer.default_root_dir", tmp_path / "runs", "--name", "c", "--progress", "none",
    ]  # fmt: skip
    main(list(map(str, ["fit", "--model", "Captioner", *options])))
    run = tmp_path / "runs/c/version_0"
    assert read_checkpoint(run / "checkpoints/best.ckpt")["hyper_parameters"]["tokenizer"] == "given"
    old = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    del old["hyper_parameters"]["tokenizer"]
    torch.save(old, tmp_path / "old.ckpt")
    assert Captioner.load_from_checkpoint(tmp_path / "old.ckpt").hparams["tokenizer"] == "ptb"
    main(["test", "--ckpt_path", str(run)])
    main(["predict", "--ckpt_path", str(run), "--data.predict", str(tmp_path / "0.png")])
    (line,) = (run / "predictions.jsonl").read_text("utf-8").splitlines()
    assert " " not in json.loads(line)["caption"]
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["test", "--ckpt_path", str(run), "--data.tokenizer", "unicode"])
    assert caught.value.code == 2
    assert "error: data.tokenizer: unicode, and the captioner's words are those of given; " in capsys.readouterr().err
