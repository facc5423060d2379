"""Scores by search and the captions themselves."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from project.analysis.caption_outcomes import collect_captions
from project.analysis.report.captions import attention_figure, captions_section, examples_section, searches
from project.analysis.report.document import Note
from project.analysis.report.subject import Subject
from project.tasks import Captioner
from project.tasks.caption_search import CaptionSearch, Decoding


@pytest.mark.parametrize(
    ("own", "names"),
    [
        (Decoding(beam_size=5), ["greedy", "beam of 3", "beam of 5 (as configured)", "beam of 10"]),
        (Decoding(search="greedy", beam_size=5), ["greedy (as configured)", "beam of 3", "beam of 5", "beam of 10"]),
        (Decoding(beam_size=7), ["beam of 7 (as configured)", "greedy", "beam of 3", "beam of 5", "beam of 10"]),
        (Decoding(search="sample"), ["sample (as configured)", "greedy", "beam of 3", "beam of 5", "beam of 10"]),
        (Decoding(beam_size=6, groups=3), ["beam (as configured)", "greedy", "beam of 3", "beam of 5", "beam of 10"]),
    ],
)
def test_each_search_is_tried_once(own, names):
    found = searches(own)
    assert list(found) == names
    (configured,) = [decoding for name, decoding in found.items() if "configured" in name]
    assert configured == own
    assert len(set(map(str, found.values()))) == len(found)


def test_scores_of_every_search(caption_subject):
    plain = captions_section(caption_subject).plain()
    rows = {row["search"]: row for row in plain["scores"]}
    assert list(rows) == ["greedy", "beam of 3 (as configured)", "beam of 5", "beam of 10"]
    assert [row["beam_size"] for row in rows.values()] == [1, 3, 5, 10]
    own = caption_subject.task.search.decoding
    greedy = collect_captions(
        caption_subject.task, caption_subject.data, "test", dataclasses.replace(own, search="greedy")
    )
    for name in ("rouge_l", "cider_d", "exact_match"):
        assert rows["greedy"][name]["value"] == pytest.approx(greedy.scores[name])
        assert plain["configured"][name] == rows["beam of 3 (as configured)"][name]
    assert rows["greedy"]["bleu_2"] == pytest.approx(greedy.scores["bleu_2"])
    diversity = {row["search"]: row for row in plain["diversity"]}
    assert diversity["greedy"]["distinct_2"] == pytest.approx(greedy.scores["distinct_2"])
    assert isinstance(diversity["greedy"]["vocabulary_used"], int)
    assert caption_subject.task.search.decoding is own


def test_one_image_is_noted(caption_subject, monkeypatch):
    whole = caption_subject.said_by

    def first(decoding):
        said = whole(decoding)
        columns = {
            name: getattr(said, name)[:1]
            for name in ("captions", "references", "log_probability", "num_tokens", "finished")
        }
        return dataclasses.replace(said, **columns)

    assert not any(isinstance(block, Note) for block in captions_section(caption_subject).blocks)
    monkeypatch.setattr(caption_subject, "said_by", first)
    monkeypatch.setattr(caption_subject, "said", first(caption_subject.captioner.search.decoding))
    section = captions_section(caption_subject)
    assert section.blocks[0].text.startswith("cider_d is 0 because one image alone was scored")
    assert section.plain()["configured"]["cider_d"]["value"] == 0


def test_the_figure_is_of_greedy_search_and_plain_beams_alone(caption_subject):
    """Another search of the same size is in the table, beside the beam."""
    own = caption_subject.task.search
    sample = dataclasses.replace(own.decoding, search="sample", beam_size=5)
    caption_subject.task.search = CaptionSearch(own.networks, sample, 8)
    section = captions_section(caption_subject)
    rows = {row["search"]: row["cider_d"]["value"] for row in section.plain()["scores"]}
    assert next(iter(rows)) == "sample (as configured)"
    (picture, *_) = (block for block in section.blocks if block.kind == "picture")
    assert f"beam 5: {rows['beam of 5']:.2f}" in picture.text


def test_every_search_of_an_ensemble_is_the_ensembles(caption_subject):
    """Itself twice says what it says alone."""
    alone = captions_section(caption_subject).plain()["scores"]
    path = caption_subject.checkpoint
    both = dataclasses.asdict(caption_subject.task.search.decoding) | {"ensemble": [str(path)]}
    data = caption_subject.data
    twice = Subject(Captioner.load_from_checkpoint(path, decoding=both), data, path)
    found = captions_section(twice).plain()["scores"]
    assert len(twice.task.search.networks) == 2
    assert [row["cider_d"]["value"] for row in found] == pytest.approx([row["cider_d"]["value"] for row in alone])


def test_examples_are_the_extremes(caption_subject):
    section = examples_section(caption_subject)
    plain = section.plain()
    said = caption_subject.said
    worst = [row["cider_d"] for row in plain["worst"]]
    best = [row["cider_d"] for row in plain["best"]]
    ordered = said.cider_d.sort().values.tolist()
    assert worst == pytest.approx(ordered[: len(worst)])
    assert best == pytest.approx(ordered[::-1][: len(best)])
    for row in plain["worst"] + plain["best"]:
        place = caption_subject.names.index(row["file"])
        assert row["said"] == said.captions[place]
        assert row["true"] == " / ".join(said.references[place])
    assert any(block.kind == "picture" for block in section.blocks)


def test_attention_is_a_map_for_each_word():
    answers = [
        {
            "words": [{"word": word} for word in words],
            "_attention": {"height": 2, "width": 2, "maps": [[0, 50, 99, 255]] * 3},
        }
        for words in (["a", "$x$ $y$"], ["dog"])
    ]
    figure = attention_figure(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), answers)
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in visible] == ["", "a", "$x$ $y$", "", "dog"]
    assert visible[1].images[1].get_array().tolist() == [[0, 50], [99, 255]]
