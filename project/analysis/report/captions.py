"""What a captioner says: scores by search, by length, and the captions themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from project.analysis.bootstrap import Estimate, bootstrap_mean
from project.analysis.caption_outcomes import CaptionOutcomes
from project.analysis.figures.text import shortened
from project.analysis.report.document import Block, Example, Examples, Note, Numbers, Picture, Section, Table, Value
from project.analysis.report.figures import score_figure
from project.analysis.report.subject import Subject
from project.analysis.style import SEQUENTIAL, new_figure, picture_axes
from project.metrics.captions.cider import ONE_IMAGE
from project.tasks.caption_search import Decoding

BEAMS = (3, 5, 10)
_BLEU = ("bleu_1", "bleu_2", "bleu_3", "bleu_4")
_DIVERSITY = (
    "distinct_1", "distinct_2", "distinct_captions", "novel_captions", "vocabulary_used", "mean_length", "unknown_rate",
    "cut_rate",
)  # fmt: skip
_SHOWN, _MAPS, _WORDS = 8, 6, 7


def captions_section(subject: Subject) -> Section:
    """All metrics for greedy search, for beams, and for the search that is configured."""
    own = subject.captioner.search.decoding
    found: list[tuple[str, int, bool, CaptionOutcomes]] = []
    for name, decoding in searches(own).items():
        said = subject.said if decoding == own else subject.said_by(decoding)
        greedy, is_beam = decoding.search == "greedy", decoding.search == "beam" and decoding.groups == 1
        found.append((name, 1 if greedy else decoding.beam_size, greedy or is_beam, said))
    score_rows: list[list[Value]] = []
    diversity_rows: list[list[Value]] = []
    by_beam: dict[int, Estimate] = {}
    configured: dict[str, Estimate] = {}
    for name, beam_size, in_figure, said in found:
        each = bootstrap_mean(torch.stack([said.rouge_l, said.cider_d, said.exact_match], 1), subject.seed)
        score_rows.append([name, beam_size, *(said.scores[score] for score in _BLEU), *each])
        diversity_rows.append([name, *(_whole(said.scores[score]) for score in _DIVERSITY), said.seconds])
        if in_figure:
            by_beam.setdefault(beam_size, each[1])
        if said is subject.said:
            configured = dict(zip(("rouge_l", "cider_d", "exact_match"), each, strict=True))
    headline: dict[str, Value] = {
        "cider_d": configured["cider_d"],
        "bleu_4": subject.said.scores["bleu_4"],
        "rouge_l": configured["rouge_l"],
        "exact_match": configured["exact_match"],
        "distinct_captions": subject.said.scores["distinct_captions"],
    }
    plain = sorted(by_beam.items())
    beams, beam_scores = [beam for beam, _ in plain], [score for _, score in plain]
    figure = score_figure(beams, beam_scores, "CIDEr-D by beam size", "beam size; 1 is greedy", "CIDEr-D")
    text = "CIDEr-D of " + ", ".join(f"beam {beam}: {score.value:.2f}" for beam, score in plain) + "."
    notes: list[Block] = [Note(ONE_IMAGE)] if len(subject.said) == 1 else []
    return Section(
        "captions",
        "Captions",
        f"Of {len(subject.said):,} images of the {subject.said.split} split, by the search that is configured.",
        [
            *notes,
            Numbers("configured", headline),
            Table(
                "scores",
                ("search", "beam_size", *_BLEU, "rouge_l", "cider_d", "exact_match"),
                score_rows,
                "Likeness to the references, by search",
            ),
            Picture.of(figure, text, "Bars are 95 % intervals."),
            _by_length(subject),
            Table("diversity", ("search", *_DIVERSITY, "seconds"), diversity_rows, "Diversity and time, by search"),
        ],
    )


def _whole(value: float) -> float | int:
    """A count without its decimals."""
    return int(value) if value > 1 and value.is_integer() else value


def searches(own: Decoding) -> dict[str, Decoding]:
    """The configured search, greedy search and beams, by what to call them; none of them twice."""
    plain = replace(own, search="beam", groups=1)
    found = {"greedy": replace(plain, search="greedy")}
    found |= {f"beam of {size}": replace(plain, beam_size=size) for size in BEAMS}
    same = next((name for name, decoding in found.items() if decoding == own), None)
    if same is None:
        name = f"beam of {own.beam_size}" if own == replace(plain, beam_size=own.beam_size) else f"{own.search}"
        return {f"{name} (as configured)": own, **found}
    return {f"{name} (as configured)" if name == same else name: decoding for name, decoding in found.items()}


def examples_section(subject: Subject) -> Section:
    """The worst captions and the best, and where the network looked for each word."""
    said = subject.said
    # of equal scores the more confident caption is the worse mistake, and the better success
    order = np.lexsort((-said.word_probability.numpy(), said.cider_d.numpy()))
    best = np.lexsort((-said.word_probability.numpy(), -said.cider_d.numpy()))[:_SHOWN]
    rows = torch.from_numpy(np.concatenate([order[:_SHOWN], best]))
    images = subject.pictures(rows)
    examples = [_example(subject, image, row) for image, row in zip(images, rows.tolist(), strict=True)]
    shown = torch.cat([images[: _MAPS // 2], images[len(order[:_SHOWN]) :][: _MAPS // 2]])
    with torch.no_grad(), subject.captioner.computing():
        answers = subject.captioner.answers(shown)
    blocks: list[Block] = [
        Examples("worst", "The worst captions", examples[: -len(best)]),
        Examples("best", "The best captions", examples[-len(best) :]),
    ]
    if "_attention" in answers[0]:
        text = "For each of some images the words of its caption, each with a map of where the network looked."
        blocks.append(Picture.of(attention_figure(shown.cpu(), answers), text, "Where the network looked for each word, "
                                 "the most in yellow; first of the worst captions, then of the best."))  # fmt: skip
    else:
        blocks.append(Note("This captioner does not attend, so that there are no maps of where it looked."))
    introduction = "By CIDEr-D of each image; of equally bad ones, those that the captioner was surest of."
    return Section("examples", "Worst and best captions", introduction, blocks)


def _example(subject: Subject, image: Tensor, row: int) -> Example:
    said = subject.said
    return Example.of(
        np.moveaxis(image.cpu().numpy(), 0, -1),
        subject.captioner.readable(said.captions[row]) or "(nothing)",
        " / ".join(map(subject.captioner.readable, said.references[row])),
        file=subject.names[row],
        cider_d=said.cider_d[row].item(),
        word_probability=said.word_probability[row].item(),
    )


def _by_length(subject: Subject) -> Picture:
    scores = scores_by_length(subject.said, subject.seed)
    text = "CIDEr-D by words of the references: " + ", ".join(
        f"{length}: {estimate.value:.2f}" for length, (_, estimate) in scores.items()
    )
    caption = (
        "In brackets the number of images; bars are 95 % intervals. A reference of n words, n below 4, has no longer "
        "n-grams: its CIDEr-D is at most 2.5 n."
    )
    return Picture.of(length_figure(scores), text, caption)


def scores_by_length(said: CaptionOutcomes, seed: int = 0) -> dict[int, tuple[int, Estimate]]:
    """Of images by the mean words of their references: how many there are, and their CIDEr-D.

    The longest, of which there are few, are one group: from where less than one in 50 is left.
    """
    lengths = said.reference_words.round().long().numpy()
    longest = max((length for length in set(lengths) if (lengths >= length).mean() >= 0.02), default=0)
    lengths = np.minimum(lengths, longest)
    each = {place: said.cider_d[torch.from_numpy(lengths == place)] for place in sorted(set(lengths.tolist()))}
    return {place: (len(scores), bootstrap_mean(scores, seed)[0]) for place, scores in each.items()}


def length_figure(scores: dict[int, tuple[int, Estimate]]) -> Figure:
    """What `scores_by_length` gives, with intervals."""
    sizes, estimates = zip(*scores.values(), strict=True)
    across = f"words of the references; {max(scores)} is {max(scores)} or more"
    return score_figure(list(scores), estimates, "CIDEr-D by length of the references", across, "CIDEr-D", sizes)


def attention_figure(images: Tensor, answers: list[dict[str, Any]]) -> Figure:
    """A row for each image: itself, and a map for each of its first words.

    Args:
        images: (n, 3, S, S) uint8.
        answers: of each, from a captioner that attends.
    """
    columns = 1 + min(_WORDS, max(len(answer["words"]) for answer in answers))
    figure, axes = new_figure(1.25 * columns, 1.45 * len(images), len(images), columns)
    for row, answer in enumerate(answers):
        picture = np.moveaxis(images[row].numpy(), 0, -1)
        first = picture_axes(axes[row, 0])
        first.imshow(picture)
        attention = answer["_attention"]
        shape = attention["height"], attention["width"]
        extent = (-0.5, picture.shape[1] - 0.5, picture.shape[0] - 0.5, -0.5)
        for column in range(1, columns):
            each = picture_axes(axes[row, column])
            if column > len(answer["words"]):
                each.set_visible(False)
                continue
            each.imshow(picture.mean(2), "gray", vmin=0, vmax=255)
            values = np.array(attention["maps"][column - 1]).reshape(shape)
            each.imshow(values, extent=extent, cmap=SEQUENTIAL, alpha=0.6, vmin=0, vmax=255, interpolation="bilinear")
            word = shortened(answer["words"][column - 1]["word"])
            each.set_title(word, fontsize=8, fontweight="normal", parse_math=False)
    return figure
