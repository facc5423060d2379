"""Golden values for the tests of caption metrics, and a search for captions that are tokenized differently.

    python scripts/golden_captions.py tokens                     # tests/metrics/golden/ptb_tokens.jsonl, ptb_files.jsonl
    python scripts/golden_captions.py scores                     # tests/metrics/golden/caption_scores.json
    python scripts/golden_captions.py fuzz --lines 30000 --seed 1  # exit status 1 where light or medium ones differ

Captions are compared by themselves and in whole files, where the tokens of one may depend on the next.

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
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# so that the script finds the project without installing it, and the captions beside this file
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from captions.made_up import adversarial_captions, caption_file, hostile_caption, ordinary_caption
from captions.scored import scored_corpora

from project.errors import UserError, one_line_for_mistakes
from project.metrics.ptb_tokenizer import ptb_tokenize, ptb_tokenize_file

TOKENS = ROOT / "tests" / "metrics" / "golden" / "ptb_tokens.jsonl"
FILES = TOKENS.with_name("ptb_files.jsonl")
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
    files = [caption_file(generator, level) for level in LEVELS for _ in range(120)]
    contents = zip(files, reference_files(files), strict=True)
    rows_of_files = [json.dumps({"captions": captions, "tokens": tokens}) for captions, tokens in contents]
    FILES.write_text("\n".join(rows_of_files) + "\n", encoding="ascii")
    print(f"{FILES.relative_to(ROOT)}: {len(files)} files")
    return 0


def write_scores(seed: int) -> int:
    """Writes captions and references with the reference's scores of them, one JSON object."""
    _jar()
    corpora = scored_corpora(random.Random(seed), reference_files)  # noqa: S311 (nothing secret)
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
        alone = zip(captions, reference_tokens(captions), map(ptb_tokenize, captions), strict=True)
        failed |= _compare(level, [row for row in alone if row[1] is not None], show) and level != "wild"
        files: list[list[str]] = []
        while sum(map(len, files)) < lines:
            files.append(caption_file(generator, level))
        whole = zip(files, reference_files(files), map(ptb_tokenize_file, files), strict=True)
        rows = [
            (captions[place:], expected, here)
            for captions, *tokens in whole
            for place, (expected, here) in enumerate(zip(*tokens, strict=True))
        ]
        failed |= _compare(f"{level}, in {len(files)} files", rows, show) and level != "wild"
    return int(failed)


def _compare(name: str, rows: Sequence[tuple[object, list[str] | None, list[str]]], show: int) -> bool:
    """Prints how many of the rows (caption, reference's tokens, tokens here) are equal; whether some are not."""
    differing = [row for row in rows if row[1] != row[2]]
    for caption, expected, found in differing[:show]:
        print(f"{caption!r}\n  reference {expected}\n  here      {found}")
    equal = len(rows) - len(differing)
    print(f"{name}: {equal} of {len(rows)} equal ({equal / max(len(rows), 1):.4%})")
    return bool(differing)


def reference_files(files: Sequence[Sequence[str]]) -> list[list[list[str]]]:
    """Tokens by coco-caption of each caption of several files; captions contain no other line separator than a line feed."""
    texts = ["\n".join(caption.replace("\n", " ") for caption in captions) for captions in files]
    outputs = [[_kept(line) for line in output.split("\n")] for output in _run_reference(texts)]
    # a file that ends with empty lines may come back without them
    return [
        tokens[: len(captions)] + [[]] * (len(captions) - len(tokens))
        for captions, tokens in zip(files, outputs, strict=True)
    ]


def reference_tokens(captions: list[str]) -> list[list[str] | None]:
    """What coco-caption makes of each, or `None` where the reference takes a caption for two or more, or two for one.

    Between captions stands a line that no rule looks at, so that a caption's tokens do not depend on its neighbours. It
    ends with a comma, which comes back with a space before it unless a tag has swallowed the line.
    """
    lines = "".join(
        f"{' '.join(caption.split(chr(10)))}\n{_fence(number)},\n" for number, caption in enumerate(captions)
    )
    output = _run_reference([lines])[0].split("\n")
    places = {line: place for place, line in enumerate(output) if re.fullmatch(r"qq\d+qq ,", line)}
    tokens: list[list[str] | None] = []
    before: int | None = -1
    for number in range(len(captions)):
        place = places.get(f"{_fence(number)} ,")
        alone = None if before is None or place is None or place - before != 2 else output[place - 1]
        tokens.append(None if alone is None else _kept(alone))
        before = place
    return tokens


def _run_reference(texts: list[str]) -> list[str]:
    """The reference's output for the content of each of several files."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for number, text in enumerate(texts):
            (directory / f"{number}.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
        pairs = "".join(f"{number}.txt\t{number}.out\n" for number in range(len(texts)))
        (directory / "files").write_text(pairs, "ascii")
        options = ["-encoding", "UTF-8", "-preserveLines", "-lowerCase", "-ioFileList", "files"]
        command = [_java(), "-cp", str(_jar()), "edu.stanford.nlp.process.PTBTokenizer", *options]
        done = subprocess.run(command, cwd=directory, capture_output=True, check=False)
        if done.returncode:
            raise UserError(f"the reference stopped: {done.stderr.decode(errors='replace').strip().splitlines()[-1]}")
        return [(directory / f"{number}.out").read_bytes().decode() for number in range(len(texts))]


def _kept(line: str) -> list[str]:
    """The tokens of one line of the reference's output without punctuation, as coco-caption keeps them."""
    return [word for word in line.rstrip().split(" ") if word and word not in PUNCTUATION]


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
