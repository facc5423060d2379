"""The network as TensorBoard's graph."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from project.callbacks.pictures import summary_writer


class NetworkGraph(Callback):
    """Shows the operations of the network on one image, and of a captioner also those of two words.

    A copy is traced, in evaluation: the network that trains keeps its state, its modes and what is compiled.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Traces it."""
        if (writer := summary_writer(trainer)) is None:
            return
        task: Any = pl_module
        network = copy.deepcopy(task.network).float().cpu().eval()
        inputs: tuple[Tensor, ...] = (torch.zeros(1, 3, task.image_size, task.image_size),)
        if hasattr(network, "decoders"):
            network, inputs = Captioning(network), (*inputs, torch.zeros(1, 1, 2, dtype=torch.int64))
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, which is right for a picture of one input
            writer.add_graph(network, inputs)


class Captioning(nn.Module):
    """A captioner's network as one function."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, tokens: Tensor) -> list[Tensor]:
        """Logits of captions, of each direction."""
        features = self.network.encode(images)
        return [decoder(features, tokens).logits for decoder in self.network.decoders]
