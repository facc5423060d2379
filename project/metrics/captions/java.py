"""METEOR and SPICE by their authors' own Java programs, which come with pycocoevalcap.

Nothing else gives their numbers: other implementations under these names differ by tens of points.

Shapes: N images.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from project.errors import ConfigError
from project.metrics.captions.corpus import Corpus, ImageCaptionMetric
from project.metrics.ptb_tokenizer import ptb_tokenize


class JavaMetric(ImageCaptionMetric):
    """A caption metric that a Java program computes; METEOR and SPICE are of English words.

    Raises:
        ConfigError: Java, or the package with the program, is not installed.
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
        from pycocoevalcap.meteor.meteor import Meteor

        with _utf8():
            program = Meteor()
        try:
            score, scores = program.compute_score(*_as_dictionaries(corpus))
        except (BrokenPipeError, ValueError) as error:
            program.meteor_p.kill()
            message = program.meteor_p.stderr.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"METEOR's Java program failed: {(message or [error])[-1]}") from error
        finally:
            program.meteor_p.stdout.close()
            program.meteor_p.stderr.close()
        return score, scores


class SPICE(JavaMetric):
    """SPICE's F-measure of scene graphs, 0..1 (Anderson et al. 2016, arXiv:1607.08822): the mean over images.

    Its parser (385 MB) is downloaded by pycocoevalcap when it is first asked for.

    Raises:
        ConfigError: see the base class, or the parser cannot be downloaded.
    """

    def __init__(self, tokenize: Callable[[str], list[str]] = ptb_tokenize, **options: Any) -> None:
        super().__init__(tokenize, **options)
        from pycocoevalcap.spice import spice

        try:
            self.program = spice.Spice()
        except OSError as error:
            folder = Path(spice.__file__).parent / "lib"
            raise ConfigError(
                f"SPICE: its parser cannot be downloaded ({getattr(error, 'reason', error)}); put "
                f"stanford-corenlp-3.6.0.jar and stanford-corenlp-3.6.0-models.jar into {folder}, or leave SPICE out"
            ) from None

    def run(self, corpus: Corpus) -> tuple[float, list[float]]:
        """See the base class."""
        with _utf8():
            mean, scores = self.program.compute_score(*_as_dictionaries(corpus))
        return float(mean), [score["All"]["f"] for score in scores]


def _as_dictionaries(corpus: Corpus) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """References and predictions by the image's place."""
    return dict(enumerate(corpus.references)), {place: [text] for place, text in enumerate(corpus.predictions)}


@contextmanager
def _utf8() -> Iterator[None]:
    """Before version 18 Java reads and writes in the locale's encoding, which may be ASCII."""
    before = os.environ.get("JAVA_TOOL_OPTIONS")
    os.environ["JAVA_TOOL_OPTIONS"] = f"{before or ''} -Dfile.encoding=UTF-8".strip()
    try:
        yield
    finally:
        os.environ.pop("JAVA_TOOL_OPTIONS")
        if before is not None:
            os.environ["JAVA_TOOL_OPTIONS"] = before
