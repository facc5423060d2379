"""From a checkpoint to files that other programs run, with their card; all of them, or none."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from project.errors import ConfigError, RunError, did_you_mean
from project.export import caption
from project.export.about import describe
from project.export.card import CARD, RUNNER, write_card
from project.export.evidence import gather
from project.export.formats import NEEDS, ONNX_LIMIT, check_libraries, open_files, to_files
from project.export.parity import Difference, compare
from project.export.programs import programs_of
from project.export.subject import open_subject
from project.export.weights import to_safetensors
from project.files import atomic_write


class Exported(NamedTuple):
    """The files that were written, the card last, and how far their answers are from the network's."""

    files: list[Path]
    differences: list[Difference]


def export(source: str, format_name: str, output: Path, onnx_limit: int = ONNX_LIMIT) -> Exported:
    """Writes a checkpoint's network in another format, after comparing their answers.

    Args:
        source: a checkpoint, or a run's folder, which stands for its best one.
        format_name: `onnx`, `pt2` or `safetensors`.
        output: a file that ends in `.` and the format; of a captioner `NAME.onnx` stands for `NAME.encoder.onnx`,
            `NAME.step.onnx`, and `NAME.backward.onnx` if it is bidirectional.
        onnx_limit: bytes of weights above which those of an ONNX file lie in a file `.data` beside it.

    Raises:
        UserError: one of them cannot be used.
        ParityError: the answers differ.
    """
    if format_name not in NEEDS:
        raise ConfigError(f"--format: there is no '{format_name}'; {did_you_mean(format_name, NEEDS)}")
    if output.suffix != f".{format_name}":
        raise ConfigError(f"--output: {output}: must end in .{format_name}, as --format says")
    check_libraries(format_name)
    subject = open_subject(source)
    about = describe(subject)
    if format_name == "safetensors":
        files, differences, programs = {output.name: to_safetensors(subject, about)}, [], []
    else:
        programs = programs_of(subject.task)
        names = [f"{output.stem}.{each.name}.{format_name}" if each.name else output.name for each in programs]
        parts = [
            to_files(format_name, each, about, name, onnx_limit) for name, each in zip(names, programs, strict=True)
        ]
        files = {name: content for part in parts for name, content in part.items()}
        runs = [open_files(format_name, part) for part in parts]
        differences = compare(subject.task, runs, about)
    card = write_card(subject, about, files, differences, gather(subject), format_name)
    if len(programs) > 1:
        files[RUNNER] = Path(caption.__file__).read_bytes()
    files[CARD] = card.encode()
    _write(output.parent, files)
    return Exported([output.parent / name for name in files], differences)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """All of them, once each is whole on the disk."""
    for name in files:  # or some would be replaced, and others not
        if (folder / name).is_dir():
            raise RunError(f"--output: {folder / name}: is a folder; choose another name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for name, content in files.items():
                file = stack.enter_context(atomic_write(folder / name))
                file.write(content)
                file.flush()
    except OSError as error:
        raise RunError(f"--output: {folder}: cannot be written ({error.strerror}); choose another folder") from None
