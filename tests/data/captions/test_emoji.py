"""Emoji and their names: how many there are, and that the splits are what they promise on every machine."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pytest

from project.data import Emoji
from project.data.captions import emoji
from project.data.captions.emoji import drawing_of, gender_of, split_of
from project.data.captions.openmoji import cache_name, emoji_names, render
from project.data.captions.samples import CaptionedSamples
from project.errors import ConfigError

NAMES = emoji_names()
SIZES = {
    "drawings": {"train": 3099, "val": 399, "test": 455},
    "compositional": {"train": 3128, "val": 421, "test": 404},
}
BOTH = pytest.mark.parametrize("mode", SIZES)


@pytest.fixture
def make(monkeypatch):
    """The set with a grey pixel in the place of each drawing."""

    def grey(sequences: list[str], size: int, cache_dir: object) -> np.ndarray:
        return np.arange(len(sequences), dtype=np.int64).astype(np.uint8).repeat(3).reshape(-1, 1, 1, 3)

    monkeypatch.setattr(emoji, "rendered", grey)
    return Emoji


def by_split(data: Emoji) -> dict[str, list[str]]:
    """The sequences of each split, by their captions, of which no two are alike."""
    sequences = {name: sequence for sequence, name in NAMES.items()}
    return {split: [sequences[text] for (text,) in part.captions] for split, part in data.splits.items()}


def without_tone(sequence: str) -> str:
    """What is drawn, by its name: independent of how sequences are spelt."""
    stem = re.sub(r"(medium-light|medium-dark|light|medium|dark) skin tone", "", NAMES[sequence])
    return " ".join(re.sub("^(kiss|couple with heart) person person", r"\1", stem).split())


@BOTH
def test_the_splits_have_these_sizes_whatever_the_seeds(mode, make):
    data = make(mode)
    assert {split: len(part) for split, part in data.splits.items()} == SIZES[mode]
    assert all(isinstance(part, CaptionedSamples) and part.in_memory for part in data.splits.values())
    assert make(mode, seed=1, split_seed=2, val_fraction=0.5).fingerprint() == data.fingerprint()
    everything = [sequence for part in by_split(data).values() for sequence in part]
    assert sorted(everything) == list(NAMES)
    assert all(abs(SIZES[mode][split] / 3953 - share) < 0.02 for split, share in (("test", 0.1), ("val", 0.1)))


@BOTH
def test_each_split_keeps_the_order_and_the_images_of_its_captions(mode, make):
    places = {sequence: place for place, sequence in enumerate(NAMES)}
    data = make(mode)
    for split, sequences in by_split(data).items():
        assert sequences == sorted(sequences)
        expected = [places[sequence] % 256 for sequence in sequences]
        assert data.splits[split].images[:, 0, 0, 0].tolist() == expected


@pytest.mark.parametrize(("mode", "digest"), [("drawings", "22e1823cf21d7c82"), ("compositional", "4b4ee490381086b5")])
def test_the_splits_are_these_on_every_machine(mode, digest, make):
    where = {sequence: split for split, part in by_split(make(mode)).items() for sequence in part}
    content = json.dumps([[sequence, where[sequence]] for sequence in NAMES]).encode()
    assert hashlib.blake2b(content, digest_size=8).hexdigest() == digest


def test_drawings_that_differ_in_skin_tone_alone_stay_together(make):
    splits = {}
    for split, sequences in by_split(make("drawings")).items():
        for sequence in sequences:
            splits.setdefault(without_tone(sequence), set()).add(split)
    assert [name for name, found in splits.items() if len(found) > 1] == []
    assert sum(without_tone(sequence) != NAMES[sequence] for sequence in NAMES) > 1500, "there are no skin tones"


def test_compositional_tests_new_combinations_of_what_is_trained_on(make):
    parts = by_split(make("compositional"))
    trained = {without_tone(sequence) for sequence in parts["train"]}
    assert np.mean([without_tone(sequence) in trained for sequence in parts["test"]]) == pytest.approx(0.599, abs=1e-3)


@pytest.mark.parametrize(
    ("sequence", "drawing"),
    [
        ("1F34E", "1F34E"),
        ("1F44B-1F3FD", "1F44B"),
        ("2764-FE0F-200D-1F525", "2764-200D-1F525"),
        ("1F468-1F3FB-200D-1F91D-200D-1F468-1F3FF", "1F46C"),
        ("1F9D1-1F3FB-200D-2764-FE0F-200D-1F9D1-1F3FC", "1F491"),
        ("1F469-200D-2764-FE0F-200D-1F468", "1F469-200D-2764-200D-1F468"),
        ("1F3FB", ""),
    ],
)
def test_a_drawing_is_its_sequence_without_tones(sequence, drawing):
    assert drawing_of(sequence) == drawing


@pytest.mark.parametrize(("key", "split"), [("1F473-200D-2640", "test"), ("1F42D", "val"), ("1F34E", "train")])
def test_the_split_of_a_key_is_a_hash_of_it(key, split):
    """The first byte of `printf '0\\0KEY' | b2sum -l 64` is 0e, 28 and 8d; a tenth of all bytes is below 1a, the next below 34."""
    assert split_of(key) == split


def test_the_three_splits_have_their_shares_of_all_keys():
    found = [split_of(str(i)) for i in range(20_000)]
    assert [found.count(split) / 20_000 for split in ("train", "val", "test")] == pytest.approx(
        [0.8, 0.1, 0.1], abs=0.01
    )


def test_the_drawings_are_rendered_once_and_their_size_is_that_of_the_grid(tmp_path):
    data = Emoji(cache_dir=str(tmp_path))
    assert data.image_size == 72
    assert data.resident
    for split, sequences in by_split(data).items():
        for place in (0, len(sequences) // 2, -1):
            np.testing.assert_array_equal(data.splits[split].images[place], render(sequences[place], 72))
    assert [path.name for path in tmp_path.iterdir()] == [cache_name(list(NAMES), 72)]
    trained = {image.tobytes() for image in data.splits["train"].images}
    assert sum(image.tobytes() in trained for image in data.splits["test"].images) == 18, "as its description says"
    again = Emoji("compositional", cache_dir=str(tmp_path))
    assert sum(map(len, again.splits.values())) == 3953
    assert again.captions_per_image == 5


def test_the_vocabulary_is_of_the_names(make):
    data = make()
    assert len(data.vocabulary) == 1471
    assert data.vocabulary[:5] == ["skin", "tone", "woman", "man", "light"]


def test_impossible_options_are_named(make):
    with pytest.raises(ConfigError, match=r"^data\.split: must be drawings or compositional; got random$"):
        make("random")
    with pytest.raises(ConfigError, match=r"^data\.storage: this set is in memory already"):
        _ = make(storage="stream").resident


@BOTH
def test_groups_are_those_that_the_names_tell(make, mode):
    data = make(split=mode)
    for split in ("val", "test"):
        captions = [text for (text,) in data.splits[split].captions]
        groups = data.groups(split)
        assert list(groups) == ["skin tone", "gender"]
        assert all(len(values) == len(captions) for values in groups.values())
        for caption, tone, gender in zip(captions, *groups.values(), strict=True):
            named = set(re.findall(r"(medium-light|medium-dark|light|medium|dark) skin tone", caption))
            assert tone == {0: tone, 1: next(iter(named), None), 2: "two tones"}[len(named)], caption
            if not named:
                assert tone in (None, "none given"), caption
            words = set(caption.split())
            assert (gender in ("female", "both")) == bool(words & {"woman", "women", "girl"}), caption
            assert (gender in ("male", "both")) == bool(words & {"man", "men", "boy"}), caption


def test_what_is_drawn_in_tones_and_shown_without_is_a_group_of_its_own(make):
    data = make()
    captions = [text for (text,) in data.splits["test"].captions]
    tones = dict(zip(captions, data.groups("test")["skin tone"], strict=True))
    assert tones["women with bunny ears"] == "none given"
    assert tones["women with bunny ears medium skin tone medium-light skin tone"] == "two tones"
    assert tones["video camera"] is None


@pytest.mark.parametrize(
    ("name", "gender"),
    [
        ("woman running", "female"),
        ("man and woman holding hands", "both"),
        ("people holding hands", "neutral"),
        ("woman’s boot", None),
        ("mango", None),
    ],
)
def test_gender_is_a_whole_word(name, gender):
    assert gender_of(name) == gender
