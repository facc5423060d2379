"""A network that begins from the weights of another one, as far as they fit."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from project.errors import CheckpointError
from project.runs.checkpoints import read_weights
from project.runs.directory import checkpoint_of


def load_matching(module: nn.Module, path: str) -> str:
    """Copies the weights of a file into `module` where name and shape agree; returns what was and was not taken.

    Args:
        module: the network.
        path: a file of weights, a checkpoint, or a run's directory, which stands for its best checkpoint.

    Raises:
        CheckpointError: the file cannot be read, or nothing in it fits.
    """
    path = str(checkpoint_of(Path(path), "best", "model.init_from"))
    weights, own = read_weights(path), module.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise CheckpointError(f"model.init_from: {path}: none of its {len(weights)} tensors fits this network")
    module.load_state_dict(fitting, strict=False)
    left = [
        f"{name} ({_shape(value)} here, {_shape(weights[name]) if name in weights else 'absent'} there)"
        for name, value in own.items()
        if name not in fitting
    ]
    return f"init_from: took {len(fitting)} of {len(own)} tensors from {path}; left as initialised: " + (
        ", ".join(left) or "none"
    )


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
