"""Writes what the tests of caption metrics compare with, and looks for captions that are tokenized differently.

    python scripts/golden_captions.py tokens                     # tests/metrics/golden/ptb_tokens.jsonl
    python scripts/golden_captions.py scores                     # tests/metrics/golden/caption_scores.json
    python scripts/golden_captions.py fuzz --lines 30000 --seed 1  # exit status 1 where light or medium ones differ

Both run the reference, the jar in the Python package pycocoevalcap, which needs `java`. The package may be in another
environment: `PYTHONPATH=OTHER/lib/python3.11/site-packages`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# so that the script finds the project without installing it, and the captions beside this file
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from captions.made_up import adversarial_captions, hostile_caption, ordinary_caption
from captions.scored import scored_corpora

from project.errors import UserError, one_line_for_mistakes
from project.metrics.ptb_tokenizer import ptb_tokenize

TOKENS = ROOT / "tests" / "metrics" / "golden" / "ptb_tokens.jsonl"
SCORES = TOKENS.with_name("caption_scores.json")
LEVELS = ("light", "medium", "wild")
# coco-caption's list of what it drops
PUNCTUATION = ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]


def main() -> None:
    """Runs the command that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    tokens = commands.add_parser("tokens", help="write the captions and their tokens that tests compare with")
    tokens.add_argument("--seed", type=int, default=0)
    tokens.set_defaults(run=lambda arguments: write_tokens(arguments.seed))
    scores = commands.add_parser("scores", help="write captions with coco-caption's scores that tests compare with")
    scores.add_argument("--seed", type=int, default=0)
    scores.set_defaults(run=lambda arguments: write_scores(arguments.seed))
    fuzz = commands.add_parser("fuzz", help="compare random captions")
    fuzz.add_argument("--lines", type=int, default=30_000, help="of each level")
    fuzz.add_argument("--seed", type=int, default=0)
    fuzz.add_argument("--show", type=int, default=10, help="differences of each level")
    fuzz.set_defaults(run=lambda arguments: compare_random(arguments.lines, arguments.seed, arguments.show))
    arguments = parser.parse_args()
    with one_line_for_mistakes():
        sys.exit(arguments.run(arguments))


def write_tokens(seed: int) -> int:
    """Writes captions with the reference's tokens, one JSON object a line."""
    generator = random.Random(seed)  # noqa: S311 (nothing secret)
    captions = [ordinary_caption(generator) for _ in range(1500)]
    captions = list(dict.fromkeys(captions + adversarial_captions(generator)))
    rows = [(caption, tokens) for caption, tokens in zip(captions, reference_tokens(captions), strict=True)]
    lines = [json.dumps({"caption": caption, "tokens": tokens}) for caption, tokens in rows if tokens is not None]
    TOKENS.parent.mkdir(parents=True, exist_ok=True)
    TOKENS.write_text("\n".join(lines) + "\n", encoding="ascii")
    print(
        f"{TOKENS.relative_to(ROOT)}: {len(lines)} captions; {len(rows) - len(lines)} left out, which are no one line"
    )
    return 0


def write_scores(seed: int) -> int:
    """Writes captions and references with the reference's scores of them, one JSON object."""
    _jar()
    corpora = scored_corpora(random.Random(seed), reference_tokens)  # noqa: S311 (nothing secret)
    SCORES.parent.mkdir(parents=True, exist_ok=True)
    SCORES.write_text(json.dumps(corpora, indent=1) + "\n", encoding="ascii")
    print(f"{SCORES.relative_to(ROOT)}: {sum(len(corpus['ids']) for corpus in corpora.values())} images")
    return 0


def compare_random(lines: int, seed: int, show: int) -> int:
    """Prints how many random captions of each level have the reference's tokens, and the first that have others."""
    failed = False
    for level in LEVELS:
        generator = random.Random(f"{seed}/{level}")  # noqa: S311 (nothing secret)
        captions = [hostile_caption(generator, level) for _ in range(lines)]
        compared = differing = 0
        for caption, expected in zip(captions, reference_tokens(captions), strict=True):
            if expected is None:
                continue
            compared += 1
            found = ptb_tokenize(caption)
            if found != expected:
                differing += 1
                if differing <= show:
                    print(f"{caption!r}\n  reference {expected}\n  here      {found}")
        print(f"{level}: {compared - differing} of {compared} equal ({(compared - differing) / max(compared, 1):.4%})")
        failed |= differing > 0 and level != "wild"
    return int(failed)


def reference_tokens(captions: list[str]) -> list[list[str] | None]:
    """What coco-caption makes of each, or `None` where the reference takes a caption for two or more, or two for one.

    Between captions stands a line that no rule looks at, so that a caption's tokens do not depend on its neighbours. It
    ends with a comma, which comes back with a space before it unless a tag has swallowed the line.
    """
    lines = "".join(
        f"{' '.join(caption.split(chr(10)))}\n{_fence(number)},\n" for number, caption in enumerate(captions)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "captions.txt"
        path.write_bytes(lines.encode("utf-8", "surrogatepass"))
        options = ["-encoding", "UTF-8", "-preserveLines", "-lowerCase"]
        command = [_java(), "-cp", str(_jar()), "edu.stanford.nlp.process.PTBTokenizer", *options, str(path)]
        done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"the reference stopped: {done.stderr.decode(errors='replace').strip().splitlines()[-1]}")
    output = done.stdout.decode().split("\n")
    places = {line: place for place, line in enumerate(output) if re.fullmatch(r"qq\d+qq ,", line)}
    tokens: list[list[str] | None] = []
    before: int | None = -1
    for number in range(len(captions)):
        place = places.get(f"{_fence(number)} ,")
        alone = None if before is None or place is None or place - before != 2 else output[place - 1]
        words = [] if alone is None else alone.rstrip().split(" ")
        tokens.append(None if alone is None else [word for word in words if word and word not in PUNCTUATION])
        before = place
    return tokens


def _fence(number: int) -> str:
    return f"qq{number}qq"


def _java() -> str:
    found = shutil.which("java")
    if found is None:
        raise UserError("there is no `java` on the PATH: install a Java runtime, such as OpenJDK")
    return found


def _jar() -> Path:
    package = importlib.util.find_spec("pycocoevalcap")
    if package is None or not package.submodule_search_locations:
        raise UserError("there is no Python package pycocoevalcap: install it, or put its folder on the PYTHONPATH")
    return Path(package.submodule_search_locations[0]) / "tokenizer" / "stanford-corenlp-3.4.1.jar"


if __name__ == "__main__":
    main()
