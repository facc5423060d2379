"""From a program to the bytes of a file, and back to something that runs."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from project.errors import ConfigError
from project.export.caption import Run, open_onnx, open_pt2
from project.export.programs import Program
from project.yaml_files import dump_json

NEEDS = {
    "onnx": ("onnx>=1.19", "onnxruntime>=1.22", "onnxscript>=0.5"),
    "pt2": (),
    "safetensors": ("safetensors>=0.6",),
}
"""The formats, with the libraries that each needs beyond the project's own."""

_WARNINGS = {
    # `nn.LSTM` and its like list their weights a second time while they run; they are parameters all the same
    "The tensor attributes .* were assigned during export": UserWarning,
    # in torch's own decomposition of these layers
    "_check_is_size will be removed": FutureWarning,
    # all inputs of a step have as many rows, on purpose
    "# The axis name: .* will not be used": UserWarning,
    # in Lightning's modules, which torch copies with what they hold
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated": FutureWarning,
}
_LONGEST_REASON = 200


def check_libraries(format_name: str) -> None:
    """Raises a `ConfigError` where a library is not installed that a format needs."""
    missing = [need for need in NEEDS[format_name] if importlib.util.find_spec(need.partition(">")[0]) is None]
    if missing:
        line = " ".join(f"'{need}'" for need in missing)
        raise ConfigError(f"--format: {format_name} needs what is not installed; install it with pip install {line}")


def to_onnx(program: Program, about: dict[str, Any]) -> bytes:
    """An ONNX file, which its checker accepts.

    Raises:
        ConfigError: the exporter cannot translate the program.
    """
    import onnx

    with _exporting("onnx"):
        found = torch.onnx.export(
            _traced(program),
            dynamo=True,
            input_names=program.inputs,
            output_names=program.outputs,
            dynamic_shapes=_axes(program),
            verbose=False,
        )
        assert found is not None, "it is None where a file is written at once"
        found.model.metadata_props["about"] = dump_json(about)
        content = found.model_proto
        onnx.checker.check_model(content, full_check=True)
        return content.SerializeToString()


def to_pt2(program: Program, about: dict[str, Any]) -> bytes:
    """A file that `torch.export.load` opens.

    Raises:
        ConfigError: the exporter cannot translate the program.
    """
    file = io.BytesIO()
    with _exporting("pt2"):
        torch.export.save(_traced(program), file, extra_files={"about.json": dump_json(about)})
    return file.getvalue()


WRITERS: dict[str, Callable[[Program, dict[str, Any]], bytes]] = {"onnx": to_onnx, "pt2": to_pt2}


def open_program(format_name: str, content: bytes) -> Run:
    """What a file's bytes compute, from arrays to arrays."""
    return (open_onnx(content) if format_name == "onnx" else open_pt2(io.BytesIO(content)))[0]


def _axes(program: Program) -> dict[str, Any]:
    """Which axes may have another length: by the names of the module's arguments, as torch wants it."""
    first, *state = ({0: Dim(program.axis)} for _ in program.examples)
    return {"words": first, "state": tuple(state)} if state else {"images": first}


def _traced(program: Program) -> ExportedProgram:
    found = torch.export.export(program.module, program.examples, dynamic_shapes=_axes(program))
    for node in found.graph.nodes:
        node.meta.pop("stack_trace", None)  # where this source lies on this machine is nobody's business
    for node, spec in zip(found.graph.find_nodes(op="placeholder"), found.graph_signature.input_specs, strict=True):
        if not node.users and spec.target in found.state_dict:
            # the encoder of a captioner holds the words, too, and torch keeps what is not used
            found.state_dict[spec.target] = nn.Parameter(torch.empty(0), requires_grad=False)
    return found


@contextmanager
def _exporting(format_name: str) -> Iterator[None]:
    """Drops the warnings above; what stops the exporter is one line."""
    try:
        with warnings.catch_warnings():
            for message, category in _WARNINGS.items():
                warnings.filterwarnings("ignore", message, category)
            yield
    except Exception as error:  # exporters raise anything, from deep inside
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = " ".join(str(cause).split())[:_LONGEST_REASON]
        raise ConfigError(f"--format: this network cannot be exported as {format_name} ({type(cause).__name__}: {reason}); "
                          "safetensors can always be written") from error  # fmt: skip
