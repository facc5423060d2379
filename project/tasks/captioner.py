"""Image captioning.

Shapes: B images of S × S pixels, R captions of each, T words with the end's mark, N hypotheses, L places of the grid.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, get_args

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW

from project.data.captions.batch import CaptionBatch
from project.data.captions.tokenizers import Tokenizer, metric_tokenizer
from project.data.captions.vocabulary import PAD, START, Vocabulary
from project.data.value_range import check_value_range
from project.decoding import Hypotheses
from project.errors import CheckpointError, ConfigError, did_you_mean
from project.losses import doubly_stochastic
from project.metrics.captions import CaptionScores
from project.metrics.sums import WeightedMean
from project.models.captioning import CaptionNetwork, DecoderOptions, Features
from project.models.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize
from project.models.pretrained import load_pretrained
from project.optim import WarmupCosine
from project.runs.checkpoints import errors_of_checkpoint
from project.runs.directory import checkpoint_of
from project.runs.precision import check_compiler
from project.runs.undeclared import data_of
from project.tasks.caption_answers import answers_of
from project.tasks.caption_features import use_features
from project.tasks.caption_results import caption_files
from project.tasks.caption_search import CaptionSearch, Decoding, cut_best, in_direction
from project.tasks.caption_task import CaptionTask
from project.tasks.fine_tuning import FineTuner, FineTuning, check_same
from project.tasks.scheduled_sampling import ScheduledSampling

_WATCHED = 8  # images


class Told(NamedTuple):
    """What one decoder says of captions: tokens (B, R, T) in its order, logits (B, R, T, V), attention (B, R, T, L)."""

    tokens: Tensor
    logits: Tensor
    attention: Tensor | None


class Captioner(CaptionTask):
    """A CNN that sees and a recurrent network that speaks, trained with cross-entropy.

    Vocabulary, image size and normalisation are hyper-parameters, so a checkpoint needs no data set to caption.

    Args:
        vocabulary: the words that it knows; the command line takes them from the data.
        max_words: the most words of a caption in training; likewise.
        image_size: S in pixels; likewise.
        tokenizer: how captions are made words, see `CaptionDataModule`; likewise. By default the data's, from `setup` on.
        backbone: a name in `project.models.BACKBONES`.
        backbone_options: its own options, such as `width: 64`.
        weights: pretrained weights of the backbone to start from, by torchvision's name, such as `IMAGENET1K_V2`.
        mean: of each channel over the training images, in 0..1; ImageNet's by default.
        std: likewise.
        decoder: the recurrent part.
        decoding: how captions are found in validation, test and prediction.
        label_smoothing: share of the target spread evenly over all words (Szegedy et al. 2015, arXiv:1512.00567).
        attention_penalty: weight of the doubly stochastic term (Xu et al. 2015), where the decoder attends.
        scheduled_sampling: see `ScheduledSampling`.
        fine_tuning: which parts learn, from when on, and how fast: the backbone's stages, and `head`, the decoder.
        encoder_lr: factor of the learning rate for the backbone.
        compile: whether the backbone is compiled, in place: a checkpoint does not show it.
        center_crop: share of the shorter side that evaluation looks at; the command line takes it from the data.
        value_range: values of grey images with more than 8 bits that become black and white; likewise.
        optimizer: see `Task`.
        lr_scheduler: see `Task`.
        init_from: see `Task`.
        sam: see `Task`.
    """

    monitor = "val/cider_d"
    monitor_mode = "max"
    identity = (
        "vocabulary", "max_words", "tokenizer", "image_size", "center_crop", "value_range", "backbone", "backbone_options",
        "mean", "std",
        "decoder",
    )  # fmt: skip
    free_options = ("decoder.dropout", "decoder.word_dropout")
    training_facts = ("vocabulary", "max_words")

    def __init__(
        self,
        vocabulary: Sequence[str],
        max_words: int,
        image_size: int,
        backbone: str = "small_resnet",
        backbone_options: dict[str, Any] | None = None,
        weights: str | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        decoder: DecoderOptions = DecoderOptions(),
        decoding: Decoding = Decoding(),
        label_smoothing: float = 0.0,
        attention_penalty: float = 0.0,
        scheduled_sampling: ScheduledSampling = ScheduledSampling(),
        fine_tuning: FineTuning = FineTuning(),
        encoder_lr: float = 1.0,
        compile: bool = False,  # noqa: A002  torch's word for it
        center_crop: float = 1.0,
        value_range: tuple[float, float] | None = None,
        optimizer: OptimizerCallable = lambda p: AdamW(p, lr=1e-3, weight_decay=0.05),
        lr_scheduler: LRSchedulerCallable | None = lambda o: WarmupCosine(o, warmup=0.05),
        init_from: str | None = None,
        sam: float = 0.0,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, init_from, sam)
        # a checkpoint holds plain types
        decoder = DecoderOptions(**decoder) if isinstance(decoder, dict) else decoder
        decoding = Decoding(**decoding) if isinstance(decoding, dict) else decoding
        if not vocabulary:
            raise ConfigError("model.vocabulary: a captioner needs words; got none; name data with captions, such as "
                              "--data CaptionTable")  # fmt: skip
        if weights and init_from:
            raise ConfigError("model.weights, model.init_from: both say what to start from; give one of them")
        if tokenizer not in (None, *get_args(Tokenizer)):
            raise ConfigError(
                f"model.tokenizer: there is no '{tokenizer}'; {did_you_mean(str(tokenizer), get_args(Tokenizer))}"
            )
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"model.label_smoothing: must lie in 0..1; got {label_smoothing}")
        if attention_penalty and decoder.attention == "none":
            raise ConfigError(
                "model.attention_penalty: the decoder does not attend; set model.decoder.attention to soft"
            )
        for name, value in (("attention_penalty", attention_penalty), ("encoder_lr", encoder_lr)):
            if value < 0:
                raise ConfigError(f"model.{name}: must be at least 0; got {value}")
        self.value_range = check_value_range(value_range, "model.value_range")
        self.save_hyperparameters(
            {
                "vocabulary": list(vocabulary),
                "max_words": max_words,
                "tokenizer": tokenizer,
                "image_size": image_size,
                "backbone": backbone,
                "backbone_options": dict(backbone_options or {}),
                "mean": list(mean),
                "std": list(std),
                "decoder": asdict(decoder),
                "decoding": asdict(decoding) | {"ensemble": list(decoding.ensemble)},
                "label_smoothing": label_smoothing,
                "center_crop": center_crop,
                "value_range": list(self.value_range) if self.value_range else None,
            },
            logger=False,
        )
        self.vocabulary = Vocabulary(vocabulary)
        self.image_size = image_size
        self.center_crop = center_crop
        self.normalize = Normalize(list(mean), list(std))
        self.network = CaptionNetwork(len(self.vocabulary), START, image_size, backbone, backbone_options, decoder)
        self.network.encoder.to(memory_format=torch.channels_last)
        self.weights = weights
        self.encoder_lr = encoder_lr
        self.compiles = compile
        self.label_smoothing = label_smoothing
        self.attention_penalty = attention_penalty
        self.scheduled_sampling = scheduled_sampling
        stages = self.network.encoder.network.stages
        self.fine_tuner = FineTuner(
            SimpleNamespace(stages=stages, pool=torch.nn.Identity(), head=self.network.decoders), fine_tuning
        )
        self.search = CaptionSearch([self.network], decoding, max_words)
        self._others: list[Captioner] = []
        self.scores: MutableMapping[str, CaptionScores] = torch.nn.ModuleDict(  # type: ignore[assignment]  # torch's holds any module
            {name: CaptionScores() for name in ("val", "test", "greedy")}
        )
        self.means: Mapping[str, WeightedMean] = torch.nn.ModuleDict(  # type: ignore[assignment]  # torch's holds any module
            {name: WeightedMean() for name in ("loss", "cut_rate")}
        )

    # ---- before training

    def setup(self, stage: str) -> None:
        """Takes pretrained weights, freezes, compiles, and opens the other networks of an ensemble."""
        if self.weights and self.trainer.ckpt_path is None:
            if stage != "fit":
                raise CheckpointError(f"model.weights: {self.weights} says no words; give a checkpoint of a captioner "
                                      "with --ckpt_path")  # fmt: skip
            found = load_pretrained(self.network.encoder.network, self.hparams["backbone"], self.weights)
            rank_zero_info(found.message)
        super().setup(stage)
        if stage == "fit":
            if self.network.encoder.note:
                rank_zero_info(self.network.encoder.note)
            self.fine_tuner.freeze_for_good()
        known = getattr(data_of(self.trainer), "training_captions", None) if stage == "test" else None
        self.scores.update(
            {name: CaptionScores(known, tokenize=metric_tokenizer(self.tokenizer)) for name in self.scores}
        )
        if self.compiles:
            check_compiler(self.trainer.strategy.root_device)
            self.network.encoder.compile()
        self.open_ensemble()

    def open_ensemble(self) -> None:
        """Opens the networks that speak together with this one, unless they are open."""
        if len(self._others) == len(self.search.decoding.ensemble):
            return
        self._others = []
        for path in self.search.decoding.ensemble:
            file = checkpoint_of(Path(path), "best", "model.decoding.ensemble")
            with errors_of_checkpoint("model.decoding.ensemble", "give checkpoints of captioners"):
                other = Captioner.load_from_checkpoint(file, map_location=self.device)
            for name in ("vocabulary", "tokenizer", "image_size", "center_crop", "value_range"):
                if other.hparams[name] != self.hparams[name]:
                    raise CheckpointError(f"model.decoding.ensemble: {path}: has another {name}; all need the same")
            if len(other.network.decoders) != len(self.network.decoders):
                raise CheckpointError(f"model.decoding.ensemble: {path}: one of them is bidirectional, the other not")
            self._others.append(other)
        networks = [self.network, *(other.network for other in self._others)]
        self.search = CaptionSearch(networks, self.search.decoding, self.hparams["max_words"])

    def on_fit_start(self) -> None:
        """Computes the features of a frozen encoder once, where the data are asked to keep them."""
        data = data_of(self.trainer)
        if getattr(data, "cache_features", False):
            use_features(self, data)

    def lr_scale(self, name: str) -> float:
        """See `FineTuning.layer_decay` and `encoder_lr`."""
        inside = name.removeprefix("network.encoder.network.")
        if inside == name:
            return 1.0
        return self.encoder_lr * self.fine_tuner.lr_scale(inside)

    def check_resumable(self, earlier: dict[str, Any]) -> None:
        """See `Task`: also the backbone's rate."""
        super().check_resumable(earlier)
        if (self.encoder_lr != 1) != (earlier.get("encoder_lr", 1.0) != 1):
            check_same("encoder_lr", self.encoder_lr, earlier.get("encoder_lr", 1.0))

    # ---- training and evaluation

    def forward(self, images: Tensor) -> Features:
        """Features of images (B, 3, S, S) uint8; of kept ones, (B, L, D) float16, they are these."""
        dtype = self.network.decoders[0].embedding.weight.dtype  # of a network that is all in 16 bits
        if images.is_floating_point():
            grid = images.to(dtype)
            return Features(grid, grid.mean(1))
        return self.network.encode(self.normalize(images).to(dtype))

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        features = self(batch.images)
        loss, penalty = self._shared_step(features, batch.tokens, self.scheduled_sampling.at(self.current_epoch))
        self.count_batch(len(batch.images), loss)
        return loss + penalty

    def validation_step(self, batch: CaptionBatch, batch_idx: int) -> dict[str, Any]:
        """Captions one batch by the configured search, and adds it to the metrics.

        Its `captions`, and the `attention_maps` of the first images, are for who watches.
        """
        outputs, watched = self._evaluation_step(batch, "val"), _WATCHED - batch_idx * len(batch.images)
        if watched > 0:
            few = Features(*(part[:watched] for part in outputs["features"]))
            outputs["attention_maps"] = self._attention_maps(few, outputs["found"].tokens[:watched, 0])
        return outputs

    def test_step(self, batch: CaptionBatch, batch_idx: int) -> dict[str, Any]:
        """Likewise, and greedily beside it."""
        return self._evaluation_step(batch, "test")

    def _shared_step(self, features: Features, tokens: Tensor, sampling: float = 0.0) -> tuple[Tensor, Tensor]:
        """Cross-entropy of a word in nats, the sum of both directions', and the weighted attention penalty."""
        told = self._tell(features, tokens, sampling)
        losses = (self._cross_entropy(each.tokens, each.logits) for each in told)
        return sum(losses, torch.zeros((), device=tokens.device)), self._penalty(told)

    def _tell(self, features: Features, tokens: Tensor, sampling: float = 0.0) -> list[Told]:
        """What each decoder says of captions (B, R, T), each told from the words before it."""
        told = []
        for direction, decoder in enumerate(self.network.decoders):
            words = in_direction(tokens, direction)
            told.append(Told(words, *decoder(features, words, sampling)))
        return told

    def _cross_entropy(self, tokens: Tensor, logits: Tensor) -> Tensor:
        """The mean over words, a scalar, of tokens (B, R, T) and logits (B, R, T, V)."""
        return functional.cross_entropy(
            logits.flatten(0, 2).float(), tokens.flatten(), ignore_index=PAD, label_smoothing=self.label_smoothing
        )

    def _penalty(self, told: Sequence[Told]) -> Tensor:
        """The weighted attention penalty, the sum of both directions'."""
        penalty = torch.zeros((), device=told[0].tokens.device)
        for each in told:
            if self.attention_penalty and each.attention is not None:
                penalty = penalty + self.attention_penalty * doubly_stochastic(each.attention, each.tokens != PAD)
        return penalty

    def _evaluation_step(self, batch: CaptionBatch, stage: str) -> dict[str, Any]:
        features = self(batch.images)
        loss, _ = self._shared_step(features, batch.tokens)
        self.means["loss"].update(loss, (batch.tokens != PAD).sum())
        every = self._all_features(batch.images, features)
        ids = batch.indices.tolist()
        found = self.search(every, generator=self._generator(ids))
        self.means["cut_rate"].update((~found.finished).float().mean(), len(batch.images))
        captions = self._texts(found)
        assert batch.references is not None, "what is measured has captions"
        self.scores[stage].update(captions, batch.references, ids)
        if stage == "test":
            self.scores["greedy"].update(self._texts(self.search(every, greedy=True)), batch.references, ids)
        return {"captions": captions, "features": features, "found": found}

    def _attention_maps(self, features: Features, tokens: Tensor) -> Tensor | None:
        """Where it looks for each word of captions (B, T), (B, T, height, width) uint8, its most 255; if it attends."""
        attention = self.network.decoders[0](features, tokens[:, None]).attention
        if attention is None:
            return None
        maps = (255 * attention[:, 0] / attention[:, 0].amax(2, keepdim=True)).byte()
        return maps.unflatten(2, (self.network.encoder.height, self.network.encoder.width))

    def _generator(self, ids: list[int]) -> torch.Generator:
        """Of a batch's draws: training's random numbers go on as if there were none, also where it is run again."""
        return torch.Generator(self.device).manual_seed((torch.initial_seed() + ids[0]) % 2**63)

    def _all_features(self, images: Tensor, own: Features) -> list[Features]:
        self.open_ensemble()  # from Python, where no Trainer sets up
        return [own, *(other.to(images.device).eval()(images) for other in self._others)]

    def _texts(self, found: Hypotheses) -> list[str]:
        """The best caption of each image, as metrics read it."""
        found = cut_best(found, self.search.max_words)
        return [" ".join(self.vocabulary.decode(hypotheses[0])) for hypotheses in found.word_ids()]

    def on_validation_epoch_end(self) -> None:
        """Records the validation metrics."""
        self._record_scores("val")

    def on_test_epoch_end(self) -> None:
        """Records the test metrics, and those of greedy search beside them."""
        self._record_scores("test")

    def metric_names(self) -> set[str]:
        """See `Task`."""
        probe = CaptionScores()
        probe.update(["a"], [["a"]])
        return super().metric_names() | {f"val/{name}" for name in (*self.means, *probe.compute())}

    def _record_scores(self, stage: str) -> None:
        values = {name: metric.compute().item() for name, metric in self.means.items()}
        values |= self.scores[stage].compute()
        if stage == "test":
            values |= {f"greedy_{name}": value for name, value in self.scores["greedy"].compute().items()}
        self.record({f"{stage}/{name}": value for name, value in values.items()})
        if self.trainer.state.fn != "fit":
            self.result_files = caption_files(self.scores[stage].captions(), data_of(self.trainer), stage)
        measures: tuple[Any, ...] = (*self.means.values(), *self.scores.values())
        for measure in measures:
            measure.reset()

    # ---- prediction

    def answers(self, images: Tensor) -> list[dict[str, Any]]:
        """See `Task`: `caption`, `log_probability`, `finished`, `words` with theirs, and the `alternatives`."""
        features = self._all_features(images, self(images))
        found = self.search(features, self.search.decoding.num_hypotheses)
        maps = self._attention_maps(features[0], found.tokens[:, 0])
        answers = answers_of(found, self.search.max_words, self.vocabulary, self.tokenizer)
        encoder = self.network.encoder
        for answer, its_maps in zip(answers, () if maps is None else maps, strict=maps is not None):
            answer["_attention"] = {
                "height": encoder.height,
                "width": encoder.width,
                "crop": self.center_crop,
                "maps": its_maps[: len(answer["words"])].flatten(1).tolist(),
            }
        return answers
