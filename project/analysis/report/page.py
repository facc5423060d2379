"""The page: `report.html` beside this file, filled in; it opens from disk, and needs no network and no script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from project.analysis.report.definitions import DEFINITIONS
from project.analysis.report.document import Examples, Numbers, Section, Table, interval, shown

_WORDS = {"search", "class", "true_class", "predicted_class", "said", "true", "file", "attribute", "group", "worst_group",
          "attack", "corruption", "probabilities"}  # fmt: skip


def render(facts: dict[str, Any], sections: Sequence[Section]) -> str:
    """The page as HTML.

    Args:
        facts: see `facts_of`.
        sections: in order.
    """
    template = resources.files(__package__).joinpath("report.html").read_text(encoding="utf-8")
    # everything that comes from data is escaped; the style is allowed by its hash
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    style = template.split("<style>")[1].split("</style>")[0]
    terms = {name: number for number, name in enumerate(_terms(sections), start=1)}
    return environment.from_string(template).render(
        style_hash="sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        facts=facts,
        name=_name(Path(facts["checkpoint"]["path"])),
        sections=sections,
        terms=terms,
        provenance=_provenance(facts),
        definitions=DEFINITIONS,
        shown=shown,
        interval=interval,
        words=_WORDS,
    )


def _name(checkpoint: Path) -> str:
    """A run by its folders, or a file that lies in none."""
    in_run = checkpoint.parent.name == "checkpoints"
    return "/".join(checkpoint.parts[-4:-2]) if in_run else checkpoint.name


def _provenance(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What is known of the checkpoint, the data and the machine, in rows."""
    made = facts["provenance"]
    git, hardware = made["git"], made["hardware"]
    data = [f"{split}: {its['samples']:,} samples, {its['fingerprint']}" for split, its in made["data"].items()]
    return [
        ("Checkpoint", facts["checkpoint"]["path"]),
        ("SHA-256", facts["checkpoint"]["sha256"]),
        ("Data", "; ".join(data)),
        ("Report made", made["time"]),
        ("Command", made["command"]),
        ("Commit", "unknown" if git is None else git["commit"] + ("" if git["clean"] else ", with changes")),
        ("Versions", ", ".join([f"Python {made['python']}", *(f"{n} {v}" for n, v in made["libraries"].items())])),
        ("Machine", ", ".join([f"{hardware['cores']} cores of {hardware['cpu']}", *hardware["gpus"]])),
        ("Device", f"{facts['device']}, {facts['precision']}, threads: {hardware['threads']}"),
        ("Seed", f"{facts['seed']}; {facts['resamples']:,} resamples"),
    ]


def _terms(sections: Sequence[Section]) -> list[str]:
    """Names of the definitions that the page needs, in the order of their first use."""
    names: dict[str, None] = {"interval": None}
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Numbers):
                names |= dict.fromkeys(block.values)
            elif isinstance(block, Table) and block.shown:
                names |= dict.fromkeys(block.columns)
            elif isinstance(block, Examples):
                names |= dict.fromkeys(name for item in block.items for name in item.values)
    return list(names)
