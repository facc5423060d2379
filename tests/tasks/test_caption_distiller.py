"""Distillation of captioners: the loss of a step written out, and runs from the command line."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from project.callbacks.averaging import WeightAverage
from project.cli import main
from project.data.captions.batch import CaptionBatch
from project.data.captions.vocabulary import END, PAD
from project.errors import ConfigError
from project.models.captioning import DecoderOptions
from project.runs.checkpoints import read_checkpoint
from project.tasks import CaptionDistiller, Captioner
from project.tasks.caption_search import Decoding
from project.tasks.caption_sequences import SequenceTable
from project.tasks.caption_teacher import CaptionTeacher
from project.tasks.scheduled_sampling import ScheduledSampling

WORDS = ["a", "red", "blue", "square", "disc", "big", "small"]
SMALL = {"embedding_size": 8, "hidden_size": 12}
PLAIN = ("--trainer.precision", "32-true", "--trainer.accelerator", "cpu")


def options_of(decoder: dict | None, options: dict) -> dict:
    options = {"vocabulary": WORDS, "max_words": 4, "image_size": 16, "backbone_options": {"width": 4}} | options
    return options | {"decoder": DecoderOptions(**(SMALL | (decoder or {})))}


def captioner(seed: int, decoder: dict | None = None, **options: object) -> Captioner:
    torch.manual_seed(seed)
    task = Captioner(**options_of(decoder, options)).eval()
    for each in task.network.decoders:
        torch.nn.init.normal_(each.output.bias, std=2)
    return task


# some end and some were cut, as a search finds them
SAID = [[4, 5, END], [6, 7, 8, 9, 10], [END]]


def distiller(teachers: list[Captioner], decoder: dict | None = None, **options: object) -> CaptionDistiller:
    """One that is ready for a step on `batch`; `counted` is what it records of it."""
    torch.manual_seed(0)
    task = CaptionDistiller(teacher="none", **options_of(decoder, options)).eval()
    task._teacher = CaptionTeacher(teachers, WORDS)
    if task.weight_of["sequences"]:
        rows = [row + [PAD] * (5 - len(row)) for row in SAID]
        task._sequences = SequenceTable(np.array(rows, np.int32), torch.device("cpu"))
    task.counted = {}
    task.count_batch = lambda count, loss, **means: task.counted.update(count=count, loss=loss, **means)
    return task


def batch(lengths: list[list[int]]) -> CaptionBatch:
    """Random captions with so many words; -1 is one that is not there."""
    generator = torch.Generator().manual_seed(1)
    counts = torch.tensor(lengths)
    longest = int(counts.max()) + 1
    tokens = torch.randint(4, 4 + len(WORDS), (*counts.shape, longest), generator=generator)
    place = torch.arange(longest)
    tokens = tokens.masked_fill(place == counts[..., None], END).masked_fill(place > counts[..., None], PAD)
    images = torch.randint(256, (len(counts), 3, 16, 16), dtype=torch.uint8, generator=generator)
    return CaptionBatch(images, tokens, torch.arange(len(counts)))


DATA = [[3, 2], [1, -1], [0, 2]]


def log_softmax(values: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    values = values / temperature
    return values - np.log(np.exp(values).sum(-1, keepdims=True))


def logits(task: Captioner, image: torch.Tensor, caption: list[int], direction: int) -> tuple[np.ndarray, list[int]]:
    """Of one caption of one image, without padding: (T, V), and the words in the order of the direction."""
    ended = caption[-1] == END
    words = caption[:-1] if ended else caption
    told = [*(words[::-1] if direction else words), *([END] if ended else [])]
    with torch.no_grad():
        found = task.network.decoders[direction](task(image[None]), torch.tensor(told)[None, None]).logits
    return found[0, 0].double().numpy(), told


def captions_of(data: CaptionBatch) -> list[tuple[torch.Tensor, list[int]]]:
    pairs = [
        (image, caption) for image, rows in zip(data.images, data.tokens.tolist(), strict=True) for caption in rows
    ]
    return [(image, [token for token in caption if token != PAD]) for image, caption in pairs if caption[0] != PAD]


def cross_entropy(task: Captioner, captions: list, smoothing: float = 0.0) -> float:
    total = count = 0.0
    for image, caption in captions:
        count += len(caption)
        for direction in range(len(task.network.decoders)):
            values, told = logits(task, image, caption, direction)
            values = log_softmax(values)
            for t, word in enumerate(told):
                total -= (1 - smoothing) * values[t, word] + smoothing * values[t].mean()
    return total / count


def divergence(task: Captioner, teachers: list[Captioner], captions: list, temperature: float) -> float:
    total = count = 0.0
    for image, caption in captions:
        count += len(caption)
        for direction in range(len(task.network.decoders)):
            q = log_softmax(logits(task, image, caption, direction)[0], temperature)
            each = [np.exp(log_softmax(logits(teacher, image, caption, direction)[0])) for teacher in teachers]
            p = log_softmax(np.log(sum(each) / len(each)), temperature)
            total += (np.exp(p) * (p - q)).sum()
    return temperature**2 * total / count


# ---- the loss of a step


@pytest.mark.parametrize("attention", ["none", "soft", "top_down"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_a_step_equals_the_formula_in_double_precision(attention, bidirectional, count):
    decoder = {"attention": attention, "bidirectional": bidirectional}
    teachers = [captioner(seed, decoder | {"hidden_size": 20}, mean=[0.3] * 3) for seed in range(1, 1 + count)]
    weights = {"label_weight": 0.3, "word_weight": 0.7, "sequence_weight": 0.9}
    task, data = distiller(teachers, decoder, temperature=2.0, label_smoothing=0.1, **weights), batch(DATA)
    loss = task.training_step(data, 0)
    said = list(zip(data.images, SAID, strict=True))
    expected = {
        "labels": cross_entropy(task, captions_of(data), 0.1),
        "words": divergence(task, teachers, captions_of(data), 2.0),
        "sequences": cross_entropy(task, said, 0.1),
    }
    for name, weight in zip(expected, weights.values(), strict=True):
        assert task.counted[f"loss_{name}"].item() == pytest.approx(expected[name], rel=1e-4)
        assert task.counted[f"weighted_{name}"].item() == pytest.approx(weight * expected[name], rel=1e-4)
    total = sum(weight * expected[name] for name, weight in zip(expected, weights.values(), strict=True))
    assert loss.item() == task.counted["loss"].item() == pytest.approx(total, rel=1e-4)
    assert task.counted["count"] == 3
    directions = 2 if bidirectional else 1
    plain = divergence(task, teachers, captions_of(data), 1.0) / directions
    assert task.counted["teacher_kl"].item() == pytest.approx(plain, rel=1e-4)
    if count == 1:
        pairs = [
            (logits(task, *each, direction)[0].argmax(1), logits(teachers[0], *each, direction)[0].argmax(1))
            for each in captions_of(data)
            for direction in range(directions)
        ]
        same = np.concatenate([one == other for one, other in pairs]).mean()
        assert task.counted["agreement"].item() == pytest.approx(same, abs=1e-6)


def test_more_padding_changes_nothing():
    task, data = distiller([captioner(1)], sequence_weight=0.5), batch(DATA)
    before = task.training_step(data, 0)
    wide = torch.nn.functional.pad(data.tokens, (0, 4, 0, 2), value=PAD)
    assert task.training_step(data._replace(tokens=wide), 0).item() == pytest.approx(before.item(), rel=1e-6)


def test_captions_beside_longer_ones_count_the_same():
    """The mean is over words: a batch is its images' words together, whatever they are padded to."""
    task = distiller([captioner(1)], label_weight=0.0)
    both = batch([[3, 2], [1, -1]])
    parts = [CaptionBatch(*(part[i : i + 1] for part in both[:3])) for i in (0, 1)]
    sums = [task.training_step(part, 0).item() * (part.tokens != PAD).sum().item() for part in parts]
    assert task.training_step(both, 0).item() == pytest.approx(sum(sums) / (both.tokens != PAD).sum().item(), rel=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_its_words(bidirectional):
    decoder = {"bidirectional": bidirectional, "dropout": 0.0}
    teacher = captioner(1, decoder)
    task = distiller([teacher], decoder, label_weight=0.0)
    task.load_state_dict(teacher.state_dict())
    assert abs(task.training_step(batch(DATA), 0).item()) < 1e-7
    same = distiller([teacher, captioner(1, decoder)], decoder, label_weight=0.0)
    same.load_state_dict(teacher.state_dict())
    assert abs(same.training_step(batch(DATA), 0).item()) < 1e-6


def test_what_has_no_weight_is_not_computed():
    data = batch(DATA)
    words = distiller([captioner(1)], label_weight=0.0)
    words.training_step(data, 0)
    assert set(words.counted) == {"count", "loss", "loss_words", "weighted_words", "agreement", "teacher_kl"}
    sequences = distiller([captioner(1)], label_weight=0.0, word_weight=0.0, sequence_weight=1.0)
    sequences._teacher = None
    loss = sequences.training_step(data, 0)
    assert set(sequences.counted) == {"count", "loss", "loss_sequences", "weighted_sequences"}
    assert loss.item() == pytest.approx(cross_entropy(sequences, list(zip(data.images, SAID, strict=True))), rel=1e-5)


def test_a_student_with_one_direction_learns_from_the_same_one_of_a_teacher_with_two():
    teacher = captioner(1, {"bidirectional": True})
    task, data = distiller([teacher], label_weight=0.0), batch(DATA)
    task.training_step(data, 0)
    expected = divergence(task, [teacher], captions_of(data), 1.0)
    assert task.counted["loss_words"].item() == pytest.approx(expected, rel=1e-4)


def test_the_student_alone_gets_gradients():
    teacher = captioner(1)
    task = distiller([teacher], sequence_weight=0.5, attention_penalty=0.1)
    fingerprint = task._teacher.fingerprint()
    task.train()
    task.training_step(batch(DATA), 0).backward()
    assert all(parameter.grad is not None for parameter in task.network.parameters())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not any(module.training for module in teacher.modules())
    assert task._teacher.fingerprint() == fingerprint
    assert {name.partition(".")[0] for name, _ in task.named_parameters()} == {"network"}
    assert task.state_dict().keys() == captioner(0).state_dict().keys()


def test_a_search_for_whole_captions_is_the_teachers_own_but_for_its_width():
    task = distiller([captioner(1)], max_words=4, sequence_weight=1.0, sequence_beam=7)
    own = Decoding(search="sample", beam_size=4, groups=2, length_penalty="average", min_words=1, max_words=9)
    asked = task._asked(own)
    expected = {"search": "beam", "beam_size": 7, "num_hypotheses": 1, "groups": 1, "max_words": 4}
    assert asked.decoding == Decoding(**expected, length_penalty="average", min_words=1)
    assert (asked.choice, asked.max_words) == ("best", 4)
    task.sequence = "closest"
    assert task._asked(own).decoding.num_hypotheses == 7
    assert task._asked(Decoding(max_words=2)).decoding.max_words == 2


def test_hyper_parameters_are_plain_and_make_the_same_task():
    task = distiller(
        [captioner(1)], sequence_weight=0.25, sequence="closest", temperature=3.0, sequence_beam=2, allowed_drop=1.0
    )
    options = dict(task.hparams)
    assert json.loads(json.dumps(options)) == options
    again = CaptionDistiller(**options)
    assert dict(again.hparams) == options
    assert again.weight_of == {"labels": 0.5, "words": 0.5, "sequences": 0.25}
    assert (again.sequence, again.temperature, again.sequence_beam) == ("closest", 3.0, 2)
    assert set(CaptionDistiller.own_options) - {"allowed_drop"} < options.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"word_weight": 0.0}, "model.word_weight, model.sequence_weight: both are 0; "),
        ({"label_weight": -1.0}, "model.label_weight: must be at least 0; got -1.0"),
        ({"word_weight": -0.5}, "model.word_weight: must be at least 0; got -0.5"),
        ({"sequence_weight": float("nan")}, "model.sequence_weight: must be at least 0; got nan"),
        ({"temperature": 0.0}, "model.temperature: must be above 0; got 0.0"),
        ({"sequence": "worst"}, "model.sequence: must be best or closest; got worst"),
        ({"sequence_beam": 0}, "model.sequence_beam: must be at least 1; got 0"),
        ({"scheduled_sampling": ScheduledSampling(0.5)}, "model.scheduled_sampling: "),
        ({"teacher": []}, "model.teacher: name one or more; without any, train a Captioner"),
        ({"label_smoothing": 1.0}, "model.label_smoothing: must lie in 0..1; got 1.0"),
    ],
)
def test_options_that_cannot_be_are_config_errors(options, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        CaptionDistiller(**{"teacher": "x", "vocabulary": WORDS, "max_words": 4, "image_size": 16} | options)


# ---- runs


@pytest.fixture(scope="module")
def teacher(tmp_path_factory, captioned, caption_options) -> Path:
    """The run of a captioner that says what it sees; not to be written to."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("teacher")
    more = ("--model.optimizer", "torch.optim.AdamW", "--model.optimizer.lr", 0.02, "--model.decoder.hidden_size", 32,
            "--trainer.max_epochs", 20, "--data.cache_dir", root / "cache")  # fmt: skip
    main([*caption_options(captioned, root / "runs", *more), "--progress", "none"])
    return root / "runs" / "c" / "version_0"


@pytest.fixture
def options(captioned, caption_options, tmp_path, teacher):
    """The arguments of a fit of a student: (*more, root)."""

    def arguments(*more: object, root: Path | str = "runs", source: object = teacher) -> list[str]:
        found = caption_options(captioned, tmp_path / root, "--model.teacher", source, *more)
        found[found.index("Captioner")] = "CaptionDistiller"
        return found

    return arguments


def saved(directory: Path, which: str = "last") -> dict:
    return read_checkpoint(directory / "checkpoints" / f"{which}.ckpt")


def rows(directory: Path) -> list[dict[str, str]]:
    with open(directory / "metrics.csv") as file:
        return list(csv.DictReader(file))


ALL = ("--model.sequence_weight", 0.5, "--model.sequence", "closest")


def test_a_teacher_that_is_worse_than_it_was_is_refused(fails, run, options, teacher, tmp_path):
    checkpoint = saved(teacher, "best")
    checkpoint["callbacks"]["SaveCheckpoints"]["best_value"] += 5
    recorded = checkpoint["callbacks"]["SaveCheckpoints"]["best_value"]
    other = tmp_path / "other.ckpt"
    torch.save(checkpoint, other)
    for source in (other, json.dumps([str(teacher), str(other)])):
        line = fails(*options(source=source))
        assert line.startswith(f"error: model.teacher: {other}: cider_d {recorded - 5:.4f} on the validation split")
        assert f"its own run found {recorded:.4f}; are data" in line
    assert run(*options("--model.allowed_drop", 6, source=other)) == 0


def test_a_run_holds_the_student_alone(run, options, captioned, teacher, tmp_path, caplog):
    before = {path.name: path.read_bytes() for path in (teacher / "checkpoints").iterdir()}
    assert run(*options(*ALL, "--ema.decay", 0.5)) == 0
    score = saved(teacher, "best")["callbacks"]["SaveCheckpoints"]["best_value"]
    expected = f"teacher: {teacher}: cider_d {score:.2f} on the validation split"
    assert expected in [record.getMessage() for record in caplog.records]
    directory = tmp_path / "runs" / "c" / "version_0"
    recorded = {name for name in rows(directory)[0] if name.startswith("train/")}
    names = ("labels", "words", "sequences")
    losses = {f"train/{kind}_{name}" for kind in ("loss", "weighted") for name in names}
    assert recorded == {"train/loss", "train/agreement", "train/teacher_kl"} | losses
    for row in rows(directory):
        weighted = [float(row[f"train/weighted_{name}"]) for name in names]
        assert float(row["train/loss"]) == pytest.approx(sum(weighted), rel=1e-5)
    student = Captioner(**{k: v for k, v in saved(directory)["hyper_parameters"].items()
                           if k not in CaptionDistiller.own_options})  # fmt: skip
    parameters = sum(parameter.numel() for parameter in student.parameters())
    for which in ("best", "last"):
        checkpoint = torch.load(directory / "checkpoints" / f"{which}.ckpt", weights_only=True)
        assert checkpoint["task"] == "CaptionDistiller"
        assert checkpoint["state_dict"].keys() == student.state_dict().keys()
        assert checkpoint["hyper_parameters"]["teacher"] == str(teacher)
        (state,) = checkpoint["optimizer_states"]
        assert sum(entry["exp_avg"].numel() for entry in state["state"].values()) == parameters
        assert len(checkpoint["raw_weights"]["weights"]) <= len(student.state_dict())
    assert {path.name: path.read_bytes() for path in (teacher / "checkpoints").iterdir()} == before


def test_the_teacher_is_no_part_of_the_task_and_stays_as_it_was(run, options, monkeypatch):
    seen = {}

    def look(self, trainer, pl_module):
        seen["teacher"] = pl_module._teacher
        seen["owned"] = {id(tensor) for tensor in (*pl_module.parameters(), *pl_module.buffers())}

    monkeypatch.setattr(WeightAverage, "on_fit_end", look)
    assert run(*options(*ALL, "--ema.decay", 0.5)) == 0
    (member,) = seen["teacher"].members
    assert not seen["owned"] & {id(tensor) for tensor in member.state_dict(keep_vars=True).values()}
    assert not any(module.training for module in member.modules())
    opened = Captioner.load_from_checkpoint(member._loaded_from)
    assert CaptionTeacher([opened], opened.vocabulary.words).fingerprint() == seen["teacher"].fingerprint()


@pytest.fixture(scope="module")
def _student(tmp_path_factory, captioned, caption_options, teacher) -> Path:
    root = tmp_path_factory.mktemp("student")
    more = ("--model.teacher", teacher, *ALL, "--model.optimizer", "torch.optim.AdamW", "--model.optimizer.lr", 0.02,
            "--trainer.max_epochs", 15, "--data.cache_dir", root / "cache")  # fmt: skip
    arguments = caption_options(captioned, root / "runs", *more)
    arguments[arguments.index("Captioner")] = "CaptionDistiller"
    main([*arguments, "--progress", "none"])
    return root / "runs" / "c" / "version_0"


@pytest.fixture
def student(_student, tmp_path) -> Path:
    """The directory of a student that has learned, the test's own copy."""
    return Path(shutil.copytree(_student, tmp_path / "runs" / "c" / "version_0"))


def test_the_student_is_tested_beside_its_teacher(run, student, teacher, captioned):
    assert run("test", "--ckpt_path", student, *PLAIN, "--data.eval_batch_size", 5) == 0
    found = json.loads((student / "test_metrics.json").read_text())
    assert run("test", "--ckpt_path", teacher, *PLAIN, "--trainer.default_root_dir", student.parents[1]) == 0
    (other,) = (path for path in student.parents[1].rglob("test_metrics.json") if path.parent != student)
    alone = json.loads(other.read_text())
    assert found["test/teacher_cider_d"] == pytest.approx(alone["test/cider_d"], rel=1e-5)
    test = [
        image for image in json.loads((captioned / "captions.json").read_text())["images"] if image["split"] == "test"
    ]
    paths = [captioned / image["filename"] for image in test]
    said = [
        [answer["caption"] for answer in Captioner.load_from_checkpoint(path).predict(paths)]
        for path in (student / "checkpoints" / "student.ckpt", teacher / "checkpoints" / "best.ckpt")
    ]
    assert found["test/agreement"] == pytest.approx(np.mean([one == two for one, two in zip(*said, strict=True)]))
    assert found["test/agreement"] > 0
    assert found["test/cider_d"] > 1


def test_the_student_is_a_plain_captioner_for_every_command(run, student, captioned, caption_options, tmp_path):
    path = student / "checkpoints" / "student.ckpt"
    best = saved(student, "best")
    plain = torch.load(path, weights_only=True)
    assert plain["task"] == "Captioner"
    assert not set(CaptionDistiller.own_options) & plain["hyper_parameters"].keys()
    assert "teacher" not in json.dumps(plain["config"]["model"])
    assert all(torch.equal(value, best["state_dict"][name]) for name, value in plain["state_dict"].items())
    assert type(Captioner.load_from_checkpoint(path)) is Captioner
    for verb in ("validate", "test"):
        assert run(verb, "--ckpt_path", path, *PLAIN) == 0
    found = json.loads((student / "test_metrics_student.json").read_text())
    assert "test/teacher_cider_d" not in found
    assert run("predict", "--ckpt_path", path, "--data.predict", captioned, *PLAIN) == 0
    said = (student / "predictions.jsonl").read_text()
    assert run("predict", "--ckpt_path", student, "--data.predict", captioned, *PLAIN) == 0
    assert (student / "predictions_1" / "predictions.jsonl").read_text() == said
    assert run(*caption_options(captioned, tmp_path / "new", "--model.init_from", path)) == 0


def test_only_learning_and_testing_need_the_teacher(run, fails, options, captioned, teacher, tmp_path):
    copy = Path(shutil.copytree(teacher, tmp_path / "teacher"))
    assert run(*options(source=copy)) == 0
    directory = tmp_path / "runs" / "c" / "version_0"
    shutil.rmtree(copy)
    assert run("validate", "--ckpt_path", directory, *PLAIN) == 0
    assert run("predict", "--ckpt_path", directory, "--data.predict", captioned, *PLAIN) == 0
    line = fails("test", "--ckpt_path", directory, *PLAIN)
    assert line.startswith(f"error: model.teacher: {copy}: there is no such checkpoint or run; ")


def test_captions_are_found_once_and_make_no_difference_to_the_run(run, options, tmp_path):
    cache = ("--data.cache_dir", tmp_path / "cache")
    states, times = [], set()
    for name in ("first", "again"):
        assert run(*options(*ALL, *cache, root=name)) == 0
        states.append(saved(tmp_path / name / "c" / "version_0")["state_dict"])
        (path,) = (tmp_path / "cache").glob("sequences-*.cache")
        times.add(path.stat().st_mtime_ns)
    assert len(times) == 1
    first, again = states
    assert all(torch.equal(again[name], value) for name, value in first.items())


class StopAt(Callback):
    """Sends this process a signal, once, at a step."""

    def __init__(self, step: int) -> None:
        self.step, self.sent = step, False

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step and not self.sent:
            self.sent = True
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("step", [4, 5])
def test_a_run_that_was_stopped_and_resumed_is_the_one_that_was_not(run, options, tmp_path, step):
    more = (*ALL, "--ema.decay", 0.9, "--trainer.max_epochs", 3)
    assert run(*options(*more, root="whole")) == 0
    callback = json.dumps([{"class_path": f"{__name__}.StopAt", "init_args": {"step": step}}])
    assert run(*options(*more, "--trainer.callbacks", callback, root="stopped")) == 143
    directory = tmp_path / "stopped" / "c" / "version_0"
    assert saved(directory)["global_step"] in (step, step + 1)
    assert run("fit", "--ckpt_path", directory, "--trainer.callbacks", "null") == 0
    whole = tmp_path / "whole" / "c" / "version_0"
    one, other = saved(whole), saved(directory)
    assert one["state_dict"].keys() == other["state_dict"].keys()
    assert all(torch.equal(other["state_dict"][name], value) for name, value in one["state_dict"].items())
    raw, resumed = (each["raw_weights"]["weights"] for each in (one, other))
    assert all(torch.equal(resumed[name], value) for name, value in raw.items())
    assert rows(whole) == rows(directory)


def test_a_configuration_is_trained_first(run, options, caption_options, captioned, tmp_path):
    import yaml

    (tmp_path / "big.yaml").write_text(yaml.safe_dump({
        "model": {"class_path": "Captioner", "init_args": {
            "backbone_options": {"width": 4}, "decoder": {"embedding_size": 8, "hidden_size": 8}}},
        "trainer": {"max_epochs": 1, "enable_model_summary": False},
    }))  # fmt: skip
    assert run(*options(source=tmp_path / "big.yaml")) == 0
    directory = tmp_path / "runs" / "c" / "version_0"
    first = tmp_path / "runs" / "teacher-big" / "version_0"
    assert saved(first)["task"] == "Captioner"
    assert saved(directory)["hyper_parameters"]["teacher"] == str(first)
    assert run("test", "--ckpt_path", directory, *PLAIN) == 0


def test_several_teachers_speak_together(run, options, teacher, tmp_path):
    both = json.dumps([str(teacher), str(teacher / "checkpoints" / "last.ckpt")])
    assert run(*options(*ALL, source=both)) == 0
    directory = tmp_path / "runs" / "c" / "version_0"
    assert saved(directory)["hyper_parameters"]["teacher"] == json.loads(both)
    assert run("test", "--ckpt_path", directory, *PLAIN) == 0


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_every_option_together_in_16_bits(run, options, tmp_path, precision):
    more = ("--model.decoder", '{"attention": "top_down", "tie_embeddings": true}', "--model.attention_penalty", 0.1,
            "--model.label_smoothing", 0.1, "--model.sam", 0.05, "--data.augment.flip", "true", "--data.train_size", 24,
            "--model.temperature", 2, "--trainer.precision", precision)  # fmt: skip
    assert run(*options(*ALL, *more)) == 0
    for row in rows(tmp_path / "runs" / "c" / "version_0"):
        assert all(np.isfinite(float(value)) for name, value in row.items() if value and "novel" not in name)


def test_kept_features_go_with_whole_captions_and_not_with_words(run, fails, options):
    frozen = ("--data.cache_features", "true", "--model.fine_tuning.frozen", "all")
    line = fails(*options(*frozen))
    assert line.startswith("error: data.cache_features: the teacher looks at the images themselves")
    assert run(*options(*frozen, "--model.word_weight", 0, "--model.sequence_weight", 1)) == 0


def test_mistakes_are_one_line(fails, options, captioned, teacher, trained, tmp_path):
    line = fails(*options("--model.word_weight", 0))
    assert line.startswith("error: model.word_weight, model.sequence_weight: both are 0; ")
    line = fails(*options(source=trained))
    assert line == f"error: model.teacher: {trained} holds a Classifier; a Captioner is needed"
    line = fails(*options(source=tmp_path / "none.ckpt"))
    assert line.endswith("none.ckpt: there is no such checkpoint or run; give one, or a captioner's configuration")
    line = fails(*options("--data.min_count", 10))
    assert line.startswith("error: model.teacher: knows 12 words, and the student ")
    line = fails(*options("--model.decoder.bidirectional", "true"))
    assert line.startswith("error: model.teacher: speaks in one direction, and the student in both; ")
    assert not (tmp_path / "runs" / "c").exists()


def test_a_student_with_two_directions_learns_whole_captions_from_a_teacher_with_one(run, options):
    more = ("--model.decoder.bidirectional", "true", "--model.word_weight", 0, "--model.sequence_weight", 1)
    assert run(*options(*more, "--model.label_weight", 0)) == 0
