"""Which kinds of words a captioner gets right: colours, people, animals, actions and others.

Shapes: N images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pandas as pd

from project.metrics.ptb_tokenizer import ptb_tokenize

WORD_CLASSES: dict[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "skin tone": "skin tone light medium-light medium medium-dark dark",
        "colour": "red orange yellow green blue purple brown black white grey gray pink golden silver colorful",
        "person": "person people man men woman women boy girl boys girls child children baby adult older couple family kid "
        "kids lady guy players player crowd mrs. mx santa claus",
        "role": "artist astronaut cook dancer detective elf fairy farmer firefighter genie guard judge mage mechanic mermaid "
        "merman merperson ninja officer pilot police prince princess scientist singer student superhero supervillain "
        "teacher technologist vampire worker zombie",
        "body": "arm beard biceps ear ears eye eyes face finger fingers fist foot hair hand hands head heart leg mouth "
        "nail nose palm palms thumb thumbs tongue tooth",
        "animal": "animal ant bear bee beetle bird bison bug bunny butterfly camel cat cats chick chicken cow cows crab dog "
        "dogs dolphin dove dragon duck eagle elephant elephants fish fox frog giraffe giraffes goat hamster horse horses "
        "kangaroo lion lizard llama monkey mouse octopus owl ox panda parrot peacock penguin pig rabbit ram rat rooster "
        "seal shark sheep snail snake spider squid swan tiger turkey turtle whale wolf zebra zebras",
        "action": "bathing biking bouncing bowing cartwheeling climbing dancing eating facepalming feeding flying frowning "
        "gesturing getting golfing grinning holding jumping juggling kissing kneeling levitating lifting looking playing "
        "pointing pouting pushing racing raising riding rowing running shaking shrugging sitting skiing sleeping smiling "
        "standing surfing swimming taking tipping walking watching waving wearing wrestling writing",
        "place": "above at back behind below beside down facing front in inside leftwards left left-facing near next on "
        "outside over right right-facing rightwards top under up upwards downwards",
        "number": "zero one two three four five six seven eight nine ten eleven twelve 0 1 2 3 4 5 6 7 8 9 10 first second "
        "third last double quarter half thirty several many",
        "function": "a an and are as be but by for from has have her his is it its no not of or that the their there they "
        "this to was were while who with without & 's",
    }.items()
}
"""Closed or short lists, made by hand for the names of emoji and for everyday English. A word of two classes counts in
the first; a word of none is `other`, which are mostly things."""

_CLASS_OF = {word: name for name, words in reversed(WORD_CLASSES.items()) for word in words}


def word_class(word: str) -> str:
    """The class of a word in lower case, `other` where it is in none."""
    return _CLASS_OF.get(word, "other")


def score_word_classes(
    captions: Sequence[str], references: Sequence[Sequence[str]], tokenize: Callable[[str], list[str]] = ptb_tokenize
) -> pd.DataFrame:
    """Of the words of each class, how many were rightly said and how many were found.

    A word counts once a caption, wherever it stands in it. One that is said is right where any reference of the image
    has it; each reference is asked for itself which of its words were said.

    Args:
        captions: one for each of N images.
        references: the captions that each image has, one or more.
        tokenize: makes words of a caption.

    Returns:
        A row for each class that occurs, in the order of `WORD_CLASSES` and then `other`, with the columns `class`,
        `said` (words in captions), `precision` (share of them that are right), `wanted` (words in references) and
        `recall` (share of them that were said); NaN where the share is one of nothing.
    """
    said, right, wanted, found = (Counter[str]() for _ in range(4))
    for caption, texts in zip(captions, references, strict=True):
        words = set(tokenize(caption))
        each = [set(tokenize(text)) for text in texts]
        said.update(map(word_class, words))
        right.update(map(word_class, words.intersection(set().union(*each))))
        for reference in each:
            wanted.update(map(word_class, reference))
            found.update(map(word_class, reference & words))
    rows = [
        {
            "class": name,
            "said": said[name],
            "precision": right[name] / said[name] if said[name] else float("nan"),
            "wanted": wanted[name],
            "recall": found[name] / wanted[name] if wanted[name] else float("nan"),
        }
        for name in (*WORD_CLASSES, "other")
        if said[name] or wanted[name]
    ]
    return pd.DataFrame(rows, columns=["class", "said", "precision", "wanted", "recall"])
