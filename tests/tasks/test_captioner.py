"""The captioner's loss and answers, against formulas written out here."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, TensorDataset
from torchvision import models

from project.data import ImageFolder, KarpathyCaptions
from project.data.captions.batch import CaptionBatch
from project.data.captions.vocabulary import END, PAD
from project.errors import CheckpointError, ConfigError, DataError
from project.models.captioning import DecoderOptions
from project.models.pretrained import load_pretrained
from project.tasks import Captioner
from project.tasks.caption_search import Decoding
from project.tasks.fine_tuning import FineTuning

WORDS = ["a", "red", "blue", "square", "disc", "big", "small"]
SMALL = {"embedding_size": 8, "hidden_size": 12}


def captioner(decoder: dict | None = None, decoding: dict | None = None, **options: object) -> Captioner:
    torch.manual_seed(0)
    options = {"vocabulary": WORDS, "max_words": 4, "image_size": 16, "backbone_options": {"width": 4}} | options
    task = Captioner(
        decoder=DecoderOptions(**(SMALL | (decoder or {}))), decoding=Decoding(**(decoding or {})), **options
    )
    return task.eval()


def batch(lengths: list[list[int]], seed: int = 1) -> CaptionBatch:
    """Random captions with so many words; -1 is one that is not there."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.tensor(lengths)
    longest = int(counts.max()) + 1
    tokens = torch.randint(4, 4 + len(WORDS), (*counts.shape, longest), generator=generator)
    place = torch.arange(longest)
    tokens = tokens.masked_fill(place == counts[..., None], END).masked_fill(place > counts[..., None], PAD)
    images = torch.randint(256, (len(counts), 3, 16, 16), dtype=torch.uint8, generator=generator)
    return CaptionBatch(images, tokens, torch.arange(len(counts)))


DATA = [[4, 2], [1, -1], [0, 3]]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def cross_entropy(task: Captioner, data: CaptionBatch, smoothing: float) -> float:
    """Word by word in float64, each caption alone and without padding: the mean over words, the sum over directions."""
    features = task(data.images)
    total, count = 0.0, 0
    for image, captions in enumerate(data.tokens.tolist()):
        for tokens in captions:
            words = [token for token in tokens if token not in (END, PAD)]
            if tokens[0] == PAD:
                continue
            count += len(words) + 1
            for direction, decoder in enumerate(task.network.decoders):
                said = [*(words[::-1] if direction else words), END]
                one = type(features)(*(part[image : image + 1] for part in features))
                values = log_softmax(decoder(one, torch.tensor(said)[None, None]).logits[0, 0].double().numpy())
                for t, word in enumerate(said):
                    total -= (1 - smoothing) * values[t, word] + smoothing * values[t].mean()
    return total / count


# ---- loss


@pytest.mark.parametrize("attention", ["none", "soft", "top_down"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_equals_the_formula_in_double_precision(attention, bidirectional, smoothing):
    task = captioner({"attention": attention, "bidirectional": bidirectional}, label_smoothing=smoothing)
    data = batch(DATA)
    with torch.no_grad():
        loss, penalty = task._shared_step(task(data.images), data.tokens)
        assert loss.item() == pytest.approx(cross_entropy(task, data, smoothing), rel=1e-5)
    assert penalty.item() == 0


def test_more_padding_changes_nothing():
    task, data = captioner({"bidirectional": True}, attention_penalty=0.5), batch(DATA)
    wide = torch.nn.functional.pad(data.tokens, (0, 3, 0, 2), value=PAD)
    with torch.no_grad():
        features = task(data.images)
        for one, other in zip(task._shared_step(features, data.tokens), task._shared_step(features, wide), strict=True):
            assert one.item() == pytest.approx(other.item(), rel=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_attention_penalty_is_weighted_and_of_all_decoders(bidirectional):
    task, data = captioner({"bidirectional": bidirectional}, attention_penalty=0.25), batch(DATA)
    with torch.no_grad():
        features = task(data.images)
        _, penalty = task._shared_step(features, data.tokens)
        expected = 0.0
        for direction, decoder in enumerate(task.network.decoders):
            values = []
            for image, captions in enumerate(data.tokens.tolist()):
                for tokens in captions:
                    if tokens[0] != PAD:
                        words = [token for token in tokens if token not in (END, PAD)]
                        said = torch.tensor([*(words[::-1] if direction else words), END])
                        one = type(features)(*(part[image : image + 1] for part in features))
                        weights = decoder(one, said[None, None]).attention[0, 0].double()
                        values.append(((1 - weights.sum(0)) ** 2).sum().item())
            expected += sum(values) / len(values)
    assert penalty.item() == pytest.approx(0.25 * expected, rel=1e-5)


def test_images_are_normalised_by_the_networks_own_numbers():
    task, data = captioner(mean=[0.1, 0.2, 0.3], std=[0.5, 0.25, 1.0]), batch(DATA)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ([0.1, 0.2, 0.3], [0.5, 0.25, 1.0]))
    with torch.no_grad():
        expected = task.network.encoder((data.images.double() / 255 - mean).div(std).float())
        for one, other in zip(task(data.images), expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


# ---- what it learns


CAPTIONS = ["a big red square", "a red disc", "blue", "a small blue disc", "disc", "big disc", "a a a a", "red a"]


@pytest.fixture(scope="module")
def learned() -> dict[tuple[str, bool], Captioner]:
    return {}


@pytest.fixture(params=["none", "soft", "top_down"])
def attention(request) -> str:
    return request.param


@pytest.fixture(params=[False, True], ids=["forward", "bidirectional"])
def bidirectional(request) -> bool:
    return request.param


def drawings() -> torch.Tensor:
    return torch.randint(256, (8, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def overfitted(learned, attention, bidirectional) -> Captioner:
    """A captioner that has seen eight images and no other."""
    key = attention, bidirectional
    if key not in learned:
        task = captioner({"attention": attention, "bidirectional": bidirectional, "dropout": 0.0, "hidden_size": 32})
        rows = [task.vocabulary.encode(caption.split(), 4) for caption in CAPTIONS]
        tokens = torch.tensor([row + [PAD] * (5 - len(row)) for row in rows])[:, None]
        optimizer = torch.optim.Adam(task.parameters(), lr=0.01)
        task.train()
        for _ in range(120):
            optimizer.zero_grad()
            loss, _ = task._shared_step(task(drawings()), tokens)
            loss.backward()
            optimizer.step()
        task.train()
        with torch.no_grad():  # batch norm's means of the last weights
            for _ in range(30):
                task(drawings())
        learned[key] = task.eval()
    return learned[key]


def test_eight_captions_are_learned_by_heart(overfitted):
    images = list(drawings().permute(0, 2, 3, 1).contiguous().numpy())
    assert [answer["caption"] for answer in overfitted.predict(images)] == CAPTIONS
    with torch.inference_mode():
        features = [overfitted(drawings())]
        assert overfitted._texts(overfitted.search(features, greedy=True)) == CAPTIONS
        assert overfitted._texts(overfitted.search(features)) == CAPTIONS


# ---- answers


@torch.inference_mode()
def test_captions_have_at_most_as_many_words_as_are_asked_for():
    task = captioner(decoding={"max_words": 2, "min_words": 2}).eval()
    images = list(drawings().permute(0, 2, 3, 1).contiguous().numpy())
    for greedy in (False, True):
        assert {len(text.split()) for text in task._texts(task.search([task(drawings())], greedy=greedy))} == {2}
    assert {len(answer["words"]) for answer in task.predict(images)} == {2}
    assert {len(answer["caption"].split()) for answer in task.predict(images)} == {2}


def test_an_answer_adds_up(overfitted, bidirectional):
    images = list(drawings().permute(0, 2, 3, 1).contiguous().numpy())
    for image, answer in enumerate(overfitted.predict(images)):
        assert json.loads(json.dumps(answer)) == answer
        assert list(answer) == ["caption", "log_probability", "finished", "words", "alternatives"]
        words = [word["word"] for word in answer["words"]]
        assert " ".join(words) == answer["caption"] == CAPTIONS[image]
        assert answer["finished"]
        values = taught(overfitted, image, words, True, 0)
        if bidirectional:
            backward = taught(overfitted, image, words[::-1], True, 1)
            values = max(values, [*backward[:-1][::-1], backward[-1]], key=sum)
        assert [word["log_probability"] for word in answer["words"]] == pytest.approx(values[:-1], abs=1e-4)
        assert answer["log_probability"] == pytest.approx(sum(values), abs=1e-4)

        first, *others = answer["alternatives"]
        assert {name: answer[name] for name in ("caption", "log_probability", "finished")} == {
            name: value for name, value in first.items() if name != "score"
        }
        assert len(others) == 4
        scores = [other["score"] for other in answer["alternatives"]]
        assert scores == sorted(scores, reverse=True)
        assert len({(other["caption"], other["finished"]) for other in answer["alternatives"]}) == 5
        for other in others:
            said, finished = other["caption"].split(), other["finished"]
            each = [taught(overfitted, image, said, finished, 0)]
            if bidirectional:
                each.append(taught(overfitted, image, said[::-1], finished, 1))
            assert any(math.isclose(other["log_probability"], sum(values), abs_tol=1e-3) for values in each)


def taught(task: Captioner, image: int, words: list[str], finished: bool, direction: int) -> list[float]:
    """The log-probability of each word and of the end, in float64."""
    said = task.vocabulary.encode(words, 99)[: None if finished else -1]
    with torch.no_grad():
        decoder, features = task.network.decoders[direction], task(drawings()[image : image + 1])
        values = decoder(features, torch.tensor(said)[None, None]).logits[0, 0].double().log_softmax(1)
    return [values[t, word].item() for t, word in enumerate(said)]


def test_the_gallery_gets_a_map_for_each_word():
    task, data = captioner({"attention": "soft"}, {"min_words": 2}, center_crop=0.75), batch(DATA)
    with torch.inference_mode():
        answers = task.answers(data.images)
        features = task(data.images)
    for image, answer in enumerate(answers):
        found = answer["_attention"]
        assert (found["height"], found["width"], found["crop"]) == (2, 2, 0.75)
        assert len(found["maps"]) == len(answer["words"]) >= 2
        said = torch.tensor(task.vocabulary.encode(answer["caption"].split(), 99))[None, None]
        with torch.no_grad():
            one = type(features)(*(part[image : image + 1] for part in features))
            weights = task.network.decoders[0](one, said).attention[0, 0]
        for values, expected in zip(found["maps"], weights, strict=False):
            assert values == (255 * expected / expected.max()).byte().tolist()
    assert "_attention" not in captioner({"attention": "none"}).answers(data.images)[0]


def test_unknown_words_are_said_and_keep_their_place():
    task, data = captioner(decoding={"min_words": 3}), batch(DATA)
    with torch.no_grad():
        task.network.decoders[0].output.bias[3] += 2
    answers = task.predict(list(data.images.permute(0, 2, 3, 1).contiguous().numpy()))
    assert any("<unk>" in answer["caption"].split() for answer in answers)
    for answer in answers:
        assert [word["word"] for word in answer["words"]] == answer["caption"].split()


def test_every_search_answers():
    images = [np.zeros((16, 16, 3), np.uint8)]
    for options, count in (
        ({"search": "greedy"}, 1),
        ({"search": "sample", "beam_size": 4, "num_hypotheses": 3}, 3),
        ({"beam_size": 2}, 2),
        ({"beam_size": 6, "groups": 3, "num_hypotheses": 2}, 2),
        ({"direction": "rescore"}, 5),
    ):
        for both in (False, True):
            (answer,) = captioner({"bidirectional": both}, options).predict(images)
            assert len(answer["alternatives"]) == count
            json.dumps(answer, allow_nan=False)
    assert captioner().predict([]) == []


# ---- what it is made of


def test_hyper_parameters_are_plain_and_make_the_same_network():
    task = captioner({"cell": "gru", "bidirectional": True}, {"beam_size": 2}, label_smoothing=0.1)
    options = dict(task.hparams)
    assert json.loads(json.dumps(options)) == options
    again = Captioner(**options)
    assert dict(again.hparams) == options
    again.load_state_dict(task.state_dict())
    images = [np.zeros((16, 16, 3), np.uint8)]
    assert again.eval().predict(images) == task.predict(images)
    assert set(Captioner.identity) <= options.keys()


def test_a_backbone_that_was_trained_before(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.manual_seed(7)
    state = models.resnet18().state_dict()
    name = Path(models.ResNet18_Weights.IMAGENET1K_V1.url).name
    torch.save(state, tmp_path / "hub" / "checkpoints" / name)
    task = captioner(backbone="resnet18", backbone_options={"stem": "imagenet"}, image_size=64)
    encoder = task.network.encoder
    found = load_pretrained(encoder.network, "resnet18", "DEFAULT")
    assert found.message == "resnet18: ResNet18_Weights.IMAGENET1K_V1 loaded"
    theirs = models.resnet18()
    theirs.load_state_dict(state)
    theirs.avgpool = theirs.fc = torch.nn.Identity()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        flat = theirs.eval()(images).view(2, 512, 2, 2)
        torch.testing.assert_close(encoder.eval()(images).pooled, flat.mean((2, 3)), atol=1e-4, rtol=1e-4)


def test_a_network_that_is_all_in_16_bits():
    task, data = captioner({"bidirectional": True, "layers": 2}).bfloat16().train(), batch(DATA)
    loss, _ = task._shared_step(task(data.images), data.tokens)
    loss.backward()
    assert loss.dtype == torch.float32
    with torch.inference_mode():
        assert len(task.eval().answers(data.images)) == 3


def test_an_ensemble_is_opened_where_there_is_no_trainer(tmp_path):
    images = list(drawings().permute(0, 2, 3, 1).contiguous().numpy())
    one, other = captioner(), captioner({"attention": "none"}, mean=[0.4, 0.4, 0.4])
    torch.nn.init.normal_(other.network.decoders[0].output.bias, std=3)
    for name, task in (("one", one), ("other", other)):
        saved = {"task": "Captioner", "hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}
        torch.save(saved | {"schema": 1}, tmp_path / f"{name}.ckpt")
    run = tmp_path / "run"  # whose directory stands for its best checkpoint
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    (tmp_path / "other.ckpt").rename(run / "checkpoints" / "best.ckpt")
    both = Captioner.load_from_checkpoint(tmp_path / "one.ckpt", decoding={"search": "greedy", "ensemble": [str(run)]})
    answers = both.predict(images)
    for image, answer in enumerate(answers):
        words = [word["word"] for word in answer["words"]]
        p, q = (np.exp(taught(task, image, words, answer["finished"], 0)) for task in (one, other))
        expected = np.log((p + q) / 2)
        assert [word["log_probability"] for word in answer["words"]] == pytest.approx(expected[: len(words)], abs=1e-4)
    assert set(both.state_dict()) == set(one.state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": WORDS[::-1]}, "has another vocabulary; all need the same"),
        ({"image_size": 24}, "has another image_size; all need the same"),
        ({"decoder": {"bidirectional": True}}, "one of them is bidirectional, the other not"),
    ],
)
def test_networks_that_cannot_speak_together(tmp_path, options, message):
    task = captioner(**options)
    saved = {"task": "Captioner", "hyper_parameters": dict(task.hparams), "state_dict": task.state_dict(), "schema": 1}
    torch.save(saved, tmp_path / "other.ckpt")
    both = captioner(decoding={"ensemble": [str(tmp_path / "other.ckpt")]})
    with pytest.raises(CheckpointError, match=rf"^model\.decoding\.ensemble: .*other\.ckpt: {message}"):
        both.predict([np.zeros((16, 16, 3), np.uint8)])


def test_check_resumable_compares_what_groups_of_parameters_depend_on():
    task = captioner(encoder_lr=0.1)
    task.check_resumable({"encoder_lr": 0.2, "fine_tuning": {"head_epochs": 1}})
    for earlier, option in (({}, "encoder_lr"), ({"encoder_lr": 0.1, "fine_tuning": {"frozen": "all"}}, "frozen")):
        with pytest.raises(CheckpointError, match=rf"^model\..*{option}: .* --model\.init_from$"):
            task.check_resumable(earlier)


def test_rates_of_the_backbone_are_scaled_by_layer_and_as_a_whole():
    task = captioner(encoder_lr=0.1, fine_tuning=FineTuning(layer_decay=0.5))
    scales = {name: task.lr_scale(name) for name, _ in task.named_parameters()}
    assert {scale for name, scale in scales.items() if name.startswith("network.decoders.")} == {1.0}
    for depth, stage in enumerate(("stage2", "stage1", "stem"), start=1):
        names = [name for name in scales if name.startswith(f"network.encoder.network.stages.{stage}.")]
        assert names
        assert {scales[name] for name in names} == {0.1 * 0.5**depth}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": []}, "^model.vocabulary: a captioner needs words"),
        ({"label_smoothing": 1.0}, "^model.label_smoothing: must lie in 0..1; got 1.0"),
        ({"attention_penalty": -1.0}, "^model.attention_penalty: must be at least 0; got -1.0"),
        ({"attention_penalty": 1.0, "decoder": {"attention": "none"}}, "^model.attention_penalty: .* does not attend"),
        ({"encoder_lr": -0.1}, "^model.encoder_lr: must be at least 0; got -0.1"),
        ({"std": [1.0, 0.0, 1.0]}, "^model.mean, model.std: "),
        ({"mean": [0.5]}, "^model.mean, model.std: "),
        ({"weights": "DEFAULT", "init_from": "w.pt"}, "^model.weights, model.init_from: "),
        ({"sam": -0.1}, "^model.sam: must be at least 0"),
        ({"decoding": {"min_words": 5}}, "^model.decoding.min_words: 5 is above max_words, 4"),
        ({"fine_tuning": FineTuning(frozen=["stag1"])}, "^model.fine_tuning.frozen: .* did you mean 'stage1'"),
    ],
)
def test_options_that_cannot_be_are_config_errors(options, message):
    with pytest.raises(ConfigError, match=message):
        captioner(**options)


# ---- data


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"vocabulary": ["a", "red"]},
            r"^data\.vocabulary: \['a', .* contradicts the task's \['a', 'red'\] \(12 and 2 names\)",
        ),
        ({"max_words": 5}, r"^data\.max_words: 8 contradicts the task's 5; "),
        ({"image_size": 8}, r"^data\.image_size: 16 contradicts the task's 8; "),
    ],
)
def test_trainer_with_a_captioner_for_other_data_names_both_values(captioned, change, line):
    data = KarpathyCaptions(str(captioned / "captions.json"), str(captioned), image_size=16, max_words=8)
    facts = {"vocabulary": data.vocabulary, "max_words": 8, "image_size": 16} | change
    task = Captioner(**facts, backbone_options={"width": 4})
    options = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "logger": False, "enable_checkpointing": False}
    trainer = Trainer(**options, enable_progress_bar=False, enable_model_summary=False)
    with pytest.raises(ConfigError, match=line):
        trainer.fit(task, data)
    task.is_trained = True
    if "image_size" not in change:  # another data set is tested in the task's own words
        (found,) = trainer.test(task, data, verbose=False)
        assert "test/cider_d" in found


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:The number of training batches", "ignore:You defined a"
)
def test_trainer_of_a_captioner_with_data_without_captions_is_refused(images):
    task = Captioner(["a"], 5, 12, backbone_options={"width": 4})
    trainer = Trainer(accelerator="cpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    with pytest.raises(DataError, match=r"^data: ImageFolder has no captions"):
        trainer.fit(task, ImageFolder(root=str(images), image_size=12))
    with pytest.raises(
        DataError, match=r"^loader: a captioner takes a project\.data\.CaptionBatch; got a list; give the"
    ):
        trainer.fit(task, DataLoader(TensorDataset(torch.zeros(4, 3, 12, 12, dtype=torch.uint8), torch.zeros(4)), 2))
