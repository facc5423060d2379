"""What of a run is shown beside its metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback

from project.callbacks.caption_samples import CaptionSamples
from project.callbacks.classifier_pictures import ClassifierPictures
from project.callbacks.gradients import Gradients
from project.callbacks.hyperparameters import Hyperparameters
from project.callbacks.network_graph import NetworkGraph
from project.callbacks.pictures import DrawingTime
from project.callbacks.precision_recall import PrecisionRecall
from project.callbacks.speed import Speed
from project.callbacks.training_batch import TrainingBatch
from project.errors import ConfigError


@dataclass(frozen=True)
class Watching:
    """What TensorBoard shows beside the metrics; none of it changes what is trained.

    Args:
        pictures: the share of the training time that drawing them may take: what the first and the last validation find
            is always drawn, that of others while there is time. 0 draws none.
        histograms: whether weights and gradients are shown as histograms, once an epoch.
        graph: whether the network's graph is shown.

    Raises:
        ConfigError: a value is out of its range.
    """

    pictures: float = 0.05
    histograms: bool = False
    graph: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.pictures <= 1:
            raise ConfigError(f"watch.pictures: must lie in 0..1; got {self.pictures}")


def watching_callbacks(options: Watching, config: dict[str, Any]) -> list[Callback]:
    """All that watch a training run.

    Args:
        options: see `Watching`.
        config: the run's configuration, as plain types.
    """
    callbacks: list[Callback] = [Hyperparameters(config), Speed(), Gradients(options.histograms)]
    if options.graph:
        callbacks.append(NetworkGraph())
    if options.pictures:
        time = DrawingTime(options.pictures)
        callbacks += [kind(time) for kind in (TrainingBatch, ClassifierPictures, PrecisionRecall, CaptionSamples)]
    return callbacks
