"""From a program to the bytes of a file, and back to something that runs."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
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

ONNX_LIMIT = 2**31 - 2**24  # bytes of weights; the rest is for the graph
_HUGE = 2**63

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
    return to_files("onnx", program, about, "model.onnx", limit=_HUGE)["model.onnx"]


def _onnx_files(program: Program, about: dict[str, Any], name: str, limit: int) -> dict[str, bytes]:
    import onnx

    with _exporting("onnx"), TemporaryDirectory() as folder:
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
        weights = sum(
            each.const_value.nbytes for each in found.model.graph.initializers.values() if each.const_value is not None
        )
        if weights <= limit:
            content = found.model_proto
            onnx.checker.check_model(content, full_check=True)
            return {name: content.SerializeToString()}
        path = Path(folder) / name
        found.save(path, external_data=True)
        onnx.checker.check_model(path, full_check=True)
        return {each.name: each.read_bytes() for each in (path, path.with_name(f"{name}.data"))}


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


def to_files(
    format_name: str, program: Program, about: dict[str, Any], name: str, limit: int = ONNX_LIMIT
) -> dict[str, bytes]:
    """The files of a program by their names; one, or with large ONNX weights also `NAME.data`, which belongs beside it.

    Args:
        format_name: `onnx` or `pt2`.
        program: what to write.
        about: what the file says of itself.
        name: of the file.
        limit: bytes of weights that an ONNX file itself may have; its format, protocol buffers, ends at 2 GiB.

    Raises:
        ConfigError: the exporter cannot translate the program.
    """
    if format_name == "onnx":
        return _onnx_files(program, about, name, limit)
    return {name: WRITERS[format_name](program, about)}


def open_files(format_name: str, files: Mapping[str, bytes]) -> Run:
    """What the files of one program compute, from arrays to arrays; the first is the program's own."""
    name, *others = files
    if not others:
        return open_program(format_name, files[name])
    with TemporaryDirectory() as folder:  # weights beside a file are found by its path
        for each, content in files.items():
            (Path(folder) / each).write_bytes(content)
        return open_onnx(str(Path(folder) / name))[0]


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
