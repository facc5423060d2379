"""METEOR and SPICE by their authors' own Java programs, which come with pycocoevalcap.

Nothing else gives their numbers: other implementations under these names differ by tens of points.

Shapes: N images.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from project.errors import ConfigError
from project.metrics.captions.corpus import Corpus, ImageCaptionMetric
from project.metrics.ptb_tokenizer import ptb_tokenize
from project.yaml_files import dump_json, read_json

# before version 18 Java reads and writes in the locale's encoding, which may be ASCII; numbers are written as the
# locale's language has them, which may be 0,5
_OPTIONS = "-Dfile.encoding=UTF-8 -Duser.language=en -Duser.country=US"
_LONGEST = 300  # characters of a program's own message


class ProgramError(RuntimeError):
    """An external program that failed; `str(error)` is one line."""


class JavaMetric(ImageCaptionMetric):
    """A caption metric that a Java program computes; METEOR and SPICE are of English words.

    Raises:
        ConfigError: Java, or the package with the program, is not installed.
        ProgramError: by `compute` and `per_image`: the program failed.
    """

    def __init__(self, tokenize: Callable[[str], list[str]] = ptb_tokenize, **options: Any) -> None:
        super().__init__(tokenize, **options)
        missing = [] if shutil.which("java") else ["Java (apt install default-jre-headless)"]
        if importlib.util.find_spec("pycocoevalcap") is None:
            missing.append("pycocoevalcap (pip install 'pycocoevalcap>=1.2')")
        if missing:
            raise ConfigError(f"{type(self).__name__} is computed by its authors' Java program only; install "
                              f"{' and '.join(missing)}, or leave it out")  # fmt: skip

    def compute(self) -> Tensor:
        """The corpus's score, a float64 scalar; NaN without images."""
        corpus = self.corpus()
        score = self.run(corpus)[0] if corpus.ids else float("nan")
        return torch.tensor(score, dtype=torch.float64, device=self.device)

    def scores(self, corpus: Corpus) -> Tensor:
        """Each image's score, (N,) float64."""
        return torch.tensor(self.run(corpus)[1] if corpus.ids else [], dtype=torch.float64)

    @abstractmethod
    def run(self, corpus: Corpus) -> tuple[float, list[float]]:
        """The corpus's score and each image's."""


class METEOR(JavaMetric):
    """METEOR 1.5 with coco-caption's options, 0..1 (Denkowski and Lavie 2014, doi:10.3115/v1/W14-3348).

    The score of a corpus is computed from its summed statistics; it is not the mean over images.
    """

    def run(self, corpus: Corpus) -> tuple[float, list[float]]:
        """See the base class."""
        command = ["java", "-Xmx2G", "-jar", "meteor-1.5.jar", "-", "-", "-stdio", "-l", "en", "-norm"]
        with tempfile.TemporaryFile() as errors:  # a pipe that is full would stop the program
            try:
                with subprocess.Popen(
                    command,
                    cwd=_directory("meteor"),
                    env=_environment(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    encoding="utf-8",
                    errors="replace",
                ) as program:
                    try:
                        return _meteor(program, corpus)
                    finally:
                        program.kill()  # it would wait for more input
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                raise ProgramError(_message("METEOR", errors, error)) from error


def _meteor(program: subprocess.Popen[str], corpus: Corpus) -> tuple[float, list[float]]:
    """The dialogue: a line of statistics per image, and then all of them for the scores, the last one the corpus's."""
    statistics = []
    for prediction, references in zip(corpus.predictions, corpus.references, strict=True):
        # as coco-caption writes it
        _write(program, "SCORE", *references, prediction.replace("|||", "").replace("  ", " "))
        statistics.append(_read(program))
    _write(program, "EVAL", *statistics)
    *scores, score = (float(_read(program)) for _ in range(len(statistics) + 1))
    return score, scores


def _write(program: subprocess.Popen[str], *fields: str) -> None:
    assert program.stdin is not None
    program.stdin.write(" ||| ".join(fields) + "\n")
    program.stdin.flush()


def _read(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    line = program.stdout.readline()
    if not line:
        program.wait(timeout=10)  # until it has printed why
        raise ValueError("it ended early")
    return line.strip()


class SPICE(JavaMetric):
    """SPICE's F-measure of scene graphs, 0..1 (Anderson et al. 2016, arXiv:1607.08822): the mean over images.

    Its parser (385 MB) is downloaded by pycocoevalcap when it is first asked for.

    Raises:
        ConfigError: see the base class, or the parser cannot be downloaded.
    """

    def __init__(self, tokenize: Callable[[str], list[str]] = ptb_tokenize, **options: Any) -> None:
        super().__init__(tokenize, **options)
        from pycocoevalcap.spice.get_stanford_models import get_stanford_models

        try:
            get_stanford_models()
        except OSError as error:
            raise ConfigError(
                f"SPICE: its parser cannot be downloaded ({getattr(error, 'reason', error)}); put "
                "stanford-corenlp-3.6.0.jar and stanford-corenlp-3.6.0-models.jar into "
                f"{_directory('spice') / 'lib'}, or leave SPICE out"
            ) from None

    def run(self, corpus: Corpus) -> tuple[float, list[float]]:
        """See the base class."""
        images = [
            {"image_id": place, "test": prediction, "refs": references}
            for place, (prediction, references) in enumerate(zip(corpus.predictions, corpus.references, strict=True))
        ]
        package = _directory("spice")
        with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile() as errors:
            source, target = Path(name, "captions.json"), Path(name, "scores.json")
            source.write_text(dump_json(images), "ascii")
            # parsed captions are kept for the next time, where the package may be written to
            cache = (package if os.access(package, os.W_OK) else Path(name)) / "cache"
            cache.mkdir(exist_ok=True)
            command = [
                "java",
                "-Xmx8G",
                "-jar",
                "spice-1.0.jar",
                str(source),
                "-cache",
                str(cache),
                "-out",
                str(target),
            ]
            try:
                subprocess.run(
                    [*command, "-subset", "-silent"],
                    cwd=package, env=_environment(), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, check=True,
                )  # fmt: skip
                found = {image["image_id"]: image["scores"]["All"]["f"] for image in read_json(target)}
                scores = [float("nan") if found[place] is None else float(found[place]) for place in range(len(images))]
            except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
                raise ProgramError(_message("SPICE", errors, error)) from error
        return sum(scores) / len(scores), scores


JAVA_METRICS: dict[str, type[JavaMetric]] = {"meteor": METEOR, "spice": SPICE}


def _directory(metric: str) -> Path:
    """Where pycocoevalcap has a metric's program."""
    package = importlib.util.find_spec("pycocoevalcap")
    assert package is not None, "the metric was made, so it is there"
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0]) / metric


def _environment() -> dict[str, str]:
    """This process's, with Java's encoding and language."""
    return {**os.environ, "JAVA_TOOL_OPTIONS": f"{os.environ.get('JAVA_TOOL_OPTIONS', '')} {_OPTIONS}".strip()}


def _message(metric: str, errors: IO[bytes], error: Exception) -> str:
    """One line of what the program printed before it failed, without the places in its code."""
    errors.seek(0)
    lines = [line.strip() for line in errors.read().decode(errors="replace").splitlines()]
    said = [line for line in lines if line and not line.startswith(("at ", "Picked up ", "... "))]
    return f"{metric}'s Java program failed: {('; '.join(said) or str(error))[:_LONGEST]}"
