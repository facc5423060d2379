"""A captioner from the command line: trained, measured, and asked about images."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from project import models
from project.analysis.caption_scores import read_predictions, read_references, score_captions
from project.cli import main
from project.data.captions.vocabulary import END
from project.data.images import load_square
from project.metrics.ptb_tokenizer import ptb_tokenize
from project.models import Backbone
from project.runs.checkpoints import read_checkpoint
from project.tasks import Captioner

PLAIN = ("--trainer.precision", "32-true", "--trainer.accelerator", "cpu")
LEARNING = ("--model.optimizer", "torch.optim.AdamW", "--model.optimizer.lr", 0.02, "--model.decoder.dropout", 0.1)


@pytest.fixture(scope="module")
def _learned(tmp_path_factory, captioned, caption_options) -> Path:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("learned")
    options = caption_options(captioned, root / "runs", *LEARNING, "--model.decoder.hidden_size", 32,
                              "--trainer.max_epochs", 30, "--data.cache_dir", root / "cache")  # fmt: skip
    main([*options, "--progress", "none"])
    return root / "runs" / "c" / "version_0"


@pytest.fixture
def learned(_learned, tmp_path) -> Path:
    """The directory of a captioner that says what it sees, the test's own copy."""
    return Path(shutil.copytree(_learned, tmp_path / "runs" / "c" / "version_0"))


def rows(directory: Path) -> list[dict[str, float]]:
    with open(directory / "metrics.csv") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def metrics(directory: Path, verb: str = "test", which: str = "") -> dict[str, float]:
    found = json.loads((directory / f"{verb}_metrics{which}.json").read_text())
    return {name: float("nan") if value is None else value for name, value in found.items() if "/" in name}


def saved(directory: Path, which: str = "last") -> dict:
    return read_checkpoint(directory / "checkpoints" / f"{which}.ckpt")


def split(folder: Path, name: str) -> list[tuple[Path, list[str]]]:
    """The images of a split with their captions."""
    images = json.loads((folder / "captions.json").read_text())["images"]
    return [
        (folder / image["filename"], [sentence["raw"] for sentence in image["sentences"]])
        for image in images
        if image["split"] == name
    ]


def pixels(path: Path) -> torch.Tensor:
    """An image as the network sees it, (1, 3, 16, 16) uint8."""
    return torch.from_numpy(load_square(path, 16).copy()).permute(2, 0, 1)[None]


def words_of(row: dict) -> list[str]:
    return [word["word"] for word in row["words"]]


# ---- what a run leaves behind


def test_the_best_checkpoint_is_the_one_with_the_best_captions(learned):
    scores = {int(row["step"]): row["val/cider_d"] for row in rows(learned) if "val/cider_d" in row}
    assert len(scores) == 30
    assert saved(learned, "best")["global_step"] == max(scores, key=scores.get) + 1
    assert max(scores.values()) > 3  # it has learned something
    first = rows(learned)[0]
    names = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d", "exact_match", "distinct_1", "distinct_2",
             "distinct_captions", "vocabulary_used", "unknown_rate", "mean_length", "cut_rate", "loss")  # fmt: skip
    assert {f"val/{name}" for name in names} | {"train/loss", "lr", "epoch", "step"} == first.keys()


def test_a_checkpoint_is_of_plain_types_alone(learned, captioned):
    path = learned / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    options = checkpoint["hyper_parameters"]
    assert json.loads(json.dumps(options)) == options
    counts: dict[str, int] = {}
    for _, captions in split(captioned, "train"):
        for word in (word for text in captions for word in ptb_tokenize(text)):
            counts[word] = counts.get(word, 0) + 1
    assert options["vocabulary"] == sorted(counts, key=lambda word: (-counts[word], word))
    assert (options["max_words"], options["image_size"]) == (8, 16)
    assert options["decoder"]["hidden_size"] == 32
    assert options["decoding"]["beam_size"] == 3
    assert not any("optimizer" in name or "metrics" in name for name in checkpoint["state_dict"])
    task = Captioner.load_from_checkpoint(path)
    assert task.state_dict().keys() == checkpoint["state_dict"].keys()
    assert not any(module.training for module in task.modules())


def test_the_captions_that_test_writes_have_its_scores(run, learned, captioned):
    assert run("test", "--ckpt_path", learned, *PLAIN) == 0
    found = metrics(learned)
    references = read_references(learned / "test_references.json")
    scores = score_captions(read_predictions(learned / "test_captions.json"), references)
    same = [name for name in scores if name != "novel_captions"]
    assert {name: scores[name] for name in same} == pytest.approx(
        {name: found[f"test/{name}"] for name in same}, nan_ok=True
    )


def test_test_measures_what_the_captioner_says(run, learned, captioned):
    assert run("test", "--ckpt_path", learned, *PLAIN, "--data.eval_batch_size", 5) == 0
    found = metrics(learned)
    task = Captioner.load_from_checkpoint(learned / "checkpoints" / "best.ckpt")
    images, references = zip(*split(captioned, "test"), strict=True)
    said = [words_of(answer) for answer in task.predict(images)]
    known = {" ".join(ptb_tokenize(text)) for _, captions in split(captioned, "train") for text in captions}
    tokens, pairs = list(itertools.chain(*said)), [pair for words in said for pair in itertools.pairwise(words)]
    right = [" ".join(words) in map(" ".join, map(ptb_tokenize, texts)) for words, texts in zip(said, references)]  # noqa: B905
    expected = {
        "exact_match": np.mean(right),
        "mean_length": len(tokens) / len(said),
        "unknown_rate": 0.0,
        "distinct_1": len(set(tokens)) / len(tokens),
        "distinct_2": len(set(pairs)) / len(pairs),
        "distinct_captions": len(set(map(tuple, said))) / len(said),
        "vocabulary_used": len(set(tokens)),
        "novel_captions": np.mean([" ".join(words) not in known for words in said]),
        "cut_rate": 0.0,
        "loss": loss_of(task, images, references),
    }
    assert {name: found[f"test/{name}"] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert expected["exact_match"] > 0
    scores = {name.removeprefix("test/greedy_") for name in found if name.startswith("test/greedy_")}
    assert scores == expected.keys() - {"cut_rate", "loss"} | {
        "bleu_1",
        "bleu_2",
        "bleu_3",
        "bleu_4",
        "rouge_l",
        "cider_d",
    }
    assert all(f"test/{name}" in found for name in scores)


@torch.no_grad()
def loss_of(task: Captioner, images: tuple[Path, ...], references: tuple[list[str], ...]) -> float:
    """Nats a word, in float64, one caption at a time."""
    total, count = 0.0, 0
    for path, texts in zip(images, references, strict=True):
        features = task(pixels(path))
        for text in texts:
            said = torch.tensor(task.vocabulary.encode(ptb_tokenize(text), 8))
            logits = task.network.decoders[0](features, said[None, None]).logits[0, 0].double()
            total -= logits.log_softmax(1).gather(1, said[:, None]).sum().item()
            count += len(said)
    return total / count


def test_a_beam_of_one_is_greedy_and_decoding_may_change_at_any_time(run, learned):
    assert run("test", "--ckpt_path", learned, *PLAIN) == 0
    beam = metrics(learned)
    one = ("--model.decoding.beam_size", 1, "--model.decoding.num_hypotheses", 1)
    assert run("test", "--ckpt_path", learned, *PLAIN, *one) == 0
    narrow = metrics(learned)
    for name in ("cider_d", "bleu_4", "rouge_l", "exact_match", "mean_length", "distinct_captions"):
        assert narrow[f"test/{name}"] == narrow[f"test/greedy_{name}"] == beam[f"test/greedy_{name}"]
    assert run("test", "--ckpt_path", learned, *PLAIN, "--model.decoding.max_words", 1) == 0
    assert metrics(learned)["test/cut_rate"] > 0.5
    assert (
        run("validate", "--ckpt_path", learned, *PLAIN, "--model.decoding", '{"search": "greedy", "min_words": 6}') == 0
    )
    assert metrics(learned, "validate")["val/mean_length"] >= 6


def test_predict_needs_the_checkpoint_and_the_images_alone(run, learned, captioned, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path, _ in split(captioned, "test")[:5]:
        shutil.copy(path, folder)
    assert run("predict", "--ckpt_path", learned, "--data.predict", folder, *PLAIN) == 0
    found = [json.loads(line) for line in (learned / "predictions.jsonl").read_text().splitlines()]
    paths = sorted(folder.iterdir())
    assert [row.pop("path") for row in found] == [str(path) for path in paths]
    task = Captioner.load_from_checkpoint(learned / "checkpoints" / "best.ckpt")
    for row, answer in zip(found, task.predict(paths), strict=True):
        assert list(row) == list(answer) == ["caption", "log_probability", "finished", "words", "alternatives"]
        assert (row["caption"], words_of(row), row["finished"]) == (answer["caption"], words_of(answer), True)
        assert row["caption"] == " ".join(words_of(row))
        assert row["log_probability"] == pytest.approx(answer["log_probability"], abs=1e-4)
        assert [other["caption"] for other in row["alternatives"]] == [
            other["caption"] for other in answer["alternatives"]
        ]
        logs = [other["log_probability"] for other in row["alternatives"]]
        assert len(logs) == 3
        assert logs == sorted(logs, reverse=True)
        # the whole is its words and the end
        said = [*task.vocabulary.encode(words_of(row), 99)]
        assert said[-1] == END
    for row, path in zip(found, paths, strict=True):
        with torch.no_grad():
            features = task(pixels(path))
            said = torch.tensor(task.vocabulary.encode(words_of(row), 99))
            values = task.network.decoders[0](features, said[None, None]).logits[0, 0].double().log_softmax(1)
        each = values.gather(1, said[:, None])[:, 0]
        assert [word["log_probability"] for word in row["words"]] == pytest.approx(each[:-1].tolist(), abs=1e-4)
        assert row["log_probability"] == pytest.approx(each.sum().item(), abs=1e-4)
    page = (learned / "index.html").read_text()
    assert all(row["caption"] in page for row in found)


# ---- what can be mended


def test_another_vocabulary_is_refused(fails, learned, captioned, caption_options, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(captioned, other)
    text = (other / "captions.json").read_text()
    (other / "captions.json").write_text(text.replace("disc.", "circle."))
    line = fails(*caption_options(other, tmp_path / "runs", "--ckpt_path", learned / "checkpoints" / "last.ckpt"))
    assert line.startswith("error: model.vocabulary: [")
    assert "contradicts the checkpoint's" in line
    line = fails("test", "--ckpt_path", learned, "--model.vocabulary", '["a", "b"]')
    assert line.startswith("error: model.vocabulary: ['a', 'b'] contradicts the checkpoint's")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model.decoding.beam_size", 0), "model.decoding.beam_size: must be at least 1; got 0"),
        (("--model.decoding.temperature", 0), "model.decoding.temperature: must be above 0; got 0.0"),
        (("--model.decoding.min_words", 9), "model.decoding.min_words: 9 is above max_words, 8"),
        (("--model.decoder.cell", "lstmm"), "model.decoder.cell: "),
        (("--model.attention_penalty", 1, "--model.decoder.attention", "none"), "model.attention_penalty: the decoder"),
        (
            ("--model.scheduled_sampling.probability", 2),
            "model.scheduled_sampling.probability: must lie in 0..1; got 2.0",
        ),
    ],
)
def test_a_mistake_is_one_line(fails, captioned, caption_options, tmp_path, options, message):
    line = fails(*caption_options(captioned, tmp_path / "runs", *options))
    assert line.startswith(f"error: {message}")


def test_images_without_captions_are_refused(fails, learned, captioned, image_tree, tmp_path):
    images = image_tree(tmp_path / "tree", count=4)
    line = fails(
        "test", "--ckpt_path", learned, "--data", "ImageFolder", "--data.root", images, "--data.image_size", 16
    )
    assert line.startswith("error: data: ImageFolder has no captions; ")
    line = fails(
        "fit", "--model", "Captioner", "--data", "ImageFolder", "--data.root", images, "--trainer.max_epochs", 1
    )
    assert line.startswith("error: ")


def test_a_backbone_alone_says_nothing(fails, captioned, caption_options, tmp_path):
    options = caption_options(captioned, tmp_path / "runs", "--model.backbone", "resnet18", "--model.backbone_options",
                              "{}", "--model.weights", "DEFAULT")  # fmt: skip
    line = fails("test", *options[1:])
    assert "give a checkpoint" in line


# ---- ways of training


def test_a_frozen_backbone_stays_as_it_is(run, learned, captioned, caption_options, tmp_path):
    source = learned / "checkpoints" / "last.ckpt"
    more = ("--model.fine_tuning.frozen", "all", "--model.init_from", source, "--model.decoder.hidden_size", 32)
    assert run(*caption_options(captioned, tmp_path / "new", *more)) == 0
    before, after = saved(learned)["state_dict"], saved(tmp_path / "new/c/version_0")["state_dict"]
    encoder = [name for name in before if name.startswith("network.encoder.")]
    assert encoder
    assert all(torch.equal(before[name], after[name]) for name in encoder)
    decoder = [name for name in before if name.startswith("network.decoders.")]
    assert not any(torch.equal(before[name], after[name]) for name in decoder)


def test_the_decoder_alone_learns_at_first(run, learned, captioned, caption_options, tmp_path):
    source = learned / "checkpoints" / "last.ckpt"
    more = ("--model.init_from", source, "--model.decoder.hidden_size", 32, "--model.fine_tuning.head_epochs", 1)
    states = [saved(learned)["state_dict"]]
    for epochs in (1, 2):
        options = caption_options(captioned, tmp_path / "new", *more, "--name", epochs, "--trainer.max_epochs", epochs)
        assert run(*options) == 0
        states.append(saved(tmp_path / f"new/{epochs}/version_0")["state_dict"])
    for name in states[0]:
        begun, first, second = (state[name] for state in states)
        assert torch.equal(begun, first) is name.startswith("network.encoder."), name
        assert not torch.equal(first, second), name


def test_the_backbone_learns_at_a_rate_of_its_own(run, captioned, caption_options, tmp_path):
    """One step of gradient descent shows the rate."""
    sgd = ("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", 0.5, "--model.lr_scheduler", "null",
           "--model.decoder.dropout", 0, "--trainer.max_steps", 1, "--trainer.max_epochs", 1)  # fmt: skip
    states = []
    for scale in (0, 1, 0.25):
        options = caption_options(captioned, tmp_path / "runs", *sgd, "--model.encoder_lr", scale, "--name", scale)
        assert run(*options) == 0
        states.append(saved(tmp_path / f"runs/{scale}/version_0")["state_dict"])
    still, full, slow = states
    for name, value in still.items():
        if "running_" in name or "num_batches" in name:
            continue
        if name.startswith("network.encoder."):
            step = full[name] - value
            assert step.abs().max() > 0
            torch.testing.assert_close(slow[name] - value, 0.25 * step, atol=1e-6, rtol=1e-2)
        else:
            assert torch.equal(value, full[name])
            assert torch.equal(value, slow[name])


def test_an_average_of_the_weights_speaks(run, captioned, caption_options, tmp_path):
    assert run(*caption_options(captioned, tmp_path / "runs", *LEARNING, "--ema.decay", 0.5)) == 0
    directory = tmp_path / "runs" / "c" / "version_0"
    averaged, raw = saved(directory)["state_dict"], saved(directory)["raw_weights"]["weights"]
    assert {name for name in averaged if not name.endswith("num_batches_tracked")} == raw.keys()
    assert not any(torch.equal(averaged[name], raw[name]) for name in raw if name.endswith("weight"))
    assert run("validate", "--ckpt_path", directory / "checkpoints" / "last.ckpt", *PLAIN) == 0
    last, found = rows(directory)[-1], metrics(directory, "validate", "_last")
    assert {name: last.get(name) for name in found} == pytest.approx(found, rel=1e-4, nan_ok=True)


def test_an_ensemble_of_checkpoints(run, fails, learned, captioned, caption_options, tmp_path):
    best, last = (learned / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    assert run("test", "--ckpt_path", best, *PLAIN) == 0
    alone = metrics(learned)
    assert run("test", "--ckpt_path", best, *PLAIN, "--model.decoding.ensemble", json.dumps([str(best)])) == 0
    assert metrics(learned) == pytest.approx(alone, rel=1e-4)
    ensemble = json.dumps([str(last)])
    assert run("predict", "--ckpt_path", best, "--data.predict", captioned, *PLAIN,
               "--model.decoding.ensemble", ensemble) == 0  # fmt: skip
    found = [json.loads(line) for line in (learned / "predictions.jsonl").read_text().splitlines()]
    task = Captioner.load_from_checkpoint(best)
    decoding = task.hparams["decoding"] | {"ensemble": [str(last)]}
    both = Captioner.load_from_checkpoint(best, decoding=decoding)
    answers = both.predict([row["path"] for row in found])
    assert [row["caption"] for row in found] == [answer["caption"] for answer in answers]
    assert [row["log_probability"] for row in found] == pytest.approx(
        [answer["log_probability"] for answer in answers], abs=1e-4
    )
    assert found[0]["log_probability"] != pytest.approx(
        task.predict([found[0]["path"]])[0]["log_probability"], abs=1e-4
    )
    absent = tmp_path / "absent.ckpt"
    line = fails("test", "--ckpt_path", best, *PLAIN, "--model.decoding.ensemble", json.dumps([str(absent)]))
    assert "absent.ckpt" in line


def tiny(num_classes: int, image_size: int) -> Backbone:
    """As little as can be, since compilation takes seconds a layer."""
    stage = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.ReLU())
    return Backbone({"only": stage}, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 4, num_classes)


@pytest.mark.slow
def test_a_compiled_captioner_is_the_same_captioner(run, captioned, caption_options, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    monkeypatch.setitem(models.BACKBONES, "tiny", tiny)
    more = ("--trainer.max_epochs", 1, "--model.backbone", "tiny", "--model.backbone_options", "{}", "--data.batch_size",
            12, "--model.decoder.dropout", 0)  # fmt: skip
    for compiled in ("false", "true"):
        options = caption_options(captioned, tmp_path / "runs", *more, "--model.compile", compiled, "--name", compiled)
        assert run(*options) == 0
    eager, compiled = (saved(tmp_path / f"runs/{name}/version_0")["state_dict"] for name in ("false", "true"))
    assert list(eager) == list(compiled)
    assert any((tmp_path / "inductor").rglob("*.cpp"))  # or nothing was compiled
    for name, value in eager.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_every_option_together_in_16_bits(run, captioned, caption_options, tmp_path, precision):
    more = ("--model.decoder", '{"attention": "top_down", "bidirectional": true, "tie_embeddings": true}',
            "--model.decoding", '{"direction": "rescore", "no_repeat_ngram": 2}', "--model.attention_penalty", 0.1,
            "--model.scheduled_sampling", '{"probability": 0.5, "epochs": 1}', "--model.label_smoothing", 0.1,
            "--model.sam", 0.05, "--data.captions_per_image", 1, "--data.augment.flip", "true",
            "--trainer.precision", precision)  # fmt: skip
    assert run(*caption_options(captioned, tmp_path / "runs", *more)) == 0
    directory = tmp_path / "runs" / "c" / "version_0"
    assert run("predict", "--ckpt_path", directory, "--data.predict", captioned, "--trainer.precision", precision) == 0
    found = [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]
    assert len(found) == 48
    assert all(np.isfinite(row["log_probability"]) for row in found)
