"""`MODEL_CARD.md`: what whoever gets an exported network should know of it (Mitchell et al. 2019, arXiv:1810.03993)."""

from __future__ import annotations

import hashlib
import inspect
import math
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import yaml

from project.analysis.cost import count_parameters
from project.export import caption
from project.export.evidence import Evidence
from project.export.formats import NEEDS
from project.export.parity import TOLERANCE, Difference
from project.export.subject import Subject
from project.redaction import hide_secrets
from project.text import markdown, markdown_block, markdown_code

CARD = "MODEL_CARD.md"
RUNNER = "caption.py"
_NOT_RECORDED = "not recorded"
_WORST = 3  # classes that are named
_TO_FILL = "Not recorded; to be filled in by whoever publishes this file."


def write_card(
    subject: Subject,
    about: dict[str, Any],
    files: Mapping[str, bytes],
    differences: list[Difference],
    evidence: Evidence,
    format_name: str,
) -> str:
    """The card as Markdown, with a snippet that runs the files from their own folder."""
    captions = about["task"] == "Captioner"
    named = f"{about['task'].lower()} of {_knows(about)}"
    sections = {
        "Model details": _details(subject, about, files, evidence, format_name),
        "Intended use": _use(about, captions),
        "Input and output": _interface(about, captions),
        "How to run it": markdown_block(_snippet(about, list(files), format_name), "python"),
        "Factors": _factors(evidence),
        "Metrics": _metrics(evidence),
        "Evaluation data": _data(evidence, ("val", "test")),
        "Training data": f"{_training_data(evidence, about)}\n- Licence of the data: {_TO_FILL}",
        "Recipe": _recipe(evidence),
        "Parity": _parity(differences),
        "Ethical considerations": f"What the training images show, and whom, was not examined here. {_TO_FILL}",
        "Caveats": _caveats(captions),
    }
    text = "".join(f"\n## {title}\n\n{body.rstrip()}\n" for title, body in sections.items())
    return f"# {markdown(subject.checkpoint['hyper_parameters']['backbone'])}, a {named}\n{text}"


def _told(recorded: str | None) -> str:
    return markdown(recorded) if recorded else _NOT_RECORDED


def _knows(about: dict[str, Any]) -> str:
    if about["task"] == "Captioner":
        return f"{len(about['vocabulary']):,} words"
    return f"{len(about['class_names'])} classes"


def _details(
    subject: Subject, about: dict[str, Any], files: Mapping[str, bytes], evidence: Evidence, format_name: str
) -> str:
    git, epoch = evidence.trained.get("git") or {}, subject.checkpoint.get("epoch")
    lines = [
        f"- Network: {markdown(subject.checkpoint['hyper_parameters']['backbone'])}, {count_parameters(subject.task):,} parameters, 32 bits",
        f"- Training began: {_told(evidence.trained.get('time'))}" + (f", commit {_told(git.get('commit'))}" if git else ""),
        f"- Checkpoint: {markdown(subject.path.name)}" + (f", after {epoch + 1} epochs" if epoch is not None else "") + f", sha256 {subject.sha256}",
        *(f"- File: {markdown_code(name)}, {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}"
          for name, content in files.items()),
        f"- Exported with: project {about['project_version']}, python {platform.python_version()}, {_versions(format_name)}",
        f"- Licence of the weights: {_TO_FILL}",
    ]  # fmt: skip
    return "\n".join(lines)


def _versions(format_name: str) -> str:
    names = ("torch", *(need.partition(">")[0] for need in NEEDS[format_name]))
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)


def _use(about: dict[str, Any], captions: bool) -> str:
    if captions:
        return ("Describing images like those it was trained on in words of its vocabulary. It describes any image, also one "
                "that is like none of them.")  # fmt: skip
    names = ", ".join(map(markdown, about["class_names"][:20]))
    more = len(about["class_names"]) - 20
    return (f"Telling images like those it was trained on apart: {names}{f', and {more} more' if more > 0 else ''}. Any "
            "image gets one of these, also one that shows none of them.")  # fmt: skip


def _interface(about: dict[str, Any], captions: bool) -> str:
    inside = "Normalisation is"
    if not captions:
        inside = (
            f"Normalisation, the temperature ({about['temperature']:.4g}) and the views ({about['views'] or 'one'}) are"
        )
    return (
        f"- In: {about['input']}\n- Out: {about['output']}\n- {inside} inside.\n"
        f"- How images become squares: {about['squares']}. Here image_size is {about['image_size']}, center_crop "
        f"{about['center_crop']}, and value_range {about['value_range'] or 'none'}."
    )


def _snippet(about: dict[str, Any], names: list[str], format_name: str) -> str:
    if format_name == "safetensors":
        return (f'from project.export import load_safetensors\n\ntask = load_safetensors({names[0]!r})\n'
                'print(task.predict(["photo.png"]))\n')  # fmt: skip
    if about["task"] == "Captioner":
        return (f'from caption import CaptionRunner, square  # {RUNNER}, beside this card\n\n'
                f'captioner = CaptionRunner.open({names[0]!r})\n'
                f'images = square("photo.png", {about["image_size"]}, {about["center_crop"]}, {about["value_range"]})[None]\n'
                "print(captioner.caption(images)[0])  # beam_size=5 searches for a better one\n")  # fmt: skip
    opener = caption.open_onnx if format_name == "onnx" else caption.open_pt2
    functions = "\n\n".join(inspect.getsource(function) for function in (caption.square, opener))
    return (
        "import json\nimport math\n\nimport numpy as np\nfrom PIL import Image\n\n\n"
        + functions.replace(" -> tuple[Run, dict[str, Any]]", "")  # names that would have to be imported
        + f"\n\nrun, about = {opener.__name__}({names[0]!r})\n"
        'images = square("photo.png", about["image_size"], about["center_crop"], about["value_range"])[None]  # one or more\n'
        'for name, probability in zip(about["class_names"], run(images)[0][0]):\n    print(f"{name}: {probability:.4f}")\n'
    )


def _factors(evidence: Evidence) -> str:
    for _, metrics, _ in evidence.measured.values():
        classes = {
            name.rpartition("/")[2]: value
            for name, value in metrics.items()
            if "/class_accuracy/" in name and math.isfinite(value)
        }
        if classes:
            worst = sorted(classes, key=lambda name: (classes[name], name))[:_WORST]
            return (
                "The classes with the lowest accuracy: "
                + ", ".join(f"{markdown(n)} ({classes[n]:.4f})" for n in worst)
                + "."
            )
    return "Groups of images, such as those of one class, one camera or one skin tone: not measured."


def _metrics(evidence: Evidence) -> str:
    parts = []
    for verb in ("test", "validate"):
        if verb not in evidence.measured:
            parts.append(f"`{verb}`: not measured.")
            continue
        command, metrics, precision = evidence.measured[verb]
        rows = "\n".join(
            f"| {markdown(name)} | {value:.4f} |" for name, value in metrics.items() if "/class_accuracy/" not in name
        )
        parts.append(f"{markdown_code(command)}, in {markdown(precision)}\n\n| metric | value |\n| --- | --- |\n{rows}")
    return "\n\n".join(parts)


def _data(evidence: Evidence, splits: tuple[str, ...]) -> str:
    data = evidence.trained.get("data") or {}
    lines = [f"- {split}: {data[split]['samples']:,} images, fingerprint {markdown(data[split]['fingerprint'])}"
             for split in splits if split in data]  # fmt: skip
    return "\n".join(lines) or f"{_NOT_RECORDED.capitalize()}."


def _training_data(evidence: Evidence, about: dict[str, Any]) -> str:
    return f"- Data set: {_told(evidence.data_set)}, {_knows(about)}\n{_data(evidence, ('train',))}"


def _recipe(evidence: Evidence) -> str:
    if not evidence.recipe:
        return f"{_NOT_RECORDED.capitalize()}."
    return markdown_block(yaml.safe_dump(hide_secrets(evidence.recipe), sort_keys=False), "yaml")


def _parity(differences: list[Difference]) -> str:
    if not differences:
        return "The weights are the checkpoint's, bit for bit."
    rows = "\n".join(f"| {each.what} | {each.batch_size} | {each.value:.1e} |" for each in differences)
    return (
        f"Against the network in 32 bits, on made-up pictures; above {TOLERANCE:.0e} nothing would have been written, nor "
        "with another likeliest class or another caption.\n\n"
        f"| what | batch | largest difference of a probability |\n| --- | --- | --- |\n{rows}"
    )


def _caveats(captions: bool) -> str:
    text = "The metrics are the checkpoint's, in the arithmetic of the command that measured it; this file computes in 32 bits."
    if captions:
        return f"{text} `{RUNNER}` knows greedy and beam search, not groups or sampling."
    return f"{text} Probabilities are calibrated on the validation split, and less so for images of another kind."
