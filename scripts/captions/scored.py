"""Captions with references, and coco-caption's scores of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from captions.made_up import LINE_SEPARATOR, adversarial_captions, caption_file, ordinary_caption

EDGES: list[tuple[str, list[str]]] = [
    ("", ["A dog runs."]),
    (".", ["A cat sleeps.", "a cat"]),
    ("", ["..."]),
    ("dog", ["dog"]),
    ("dog", ["A dog.", "A dog.", "A dog."]),
    ("the the the the", ["the", "the the"]),
    ("A man's hat (brown) isn't there!!", ["a man 's hat -LRB- brown -RRB- is n't there !!"]),
    ("Une fille à la plage, très heureuse", ["Une fille à la plage", "une femme à la plage très heureuse"]),
    ("猫 が いる", ["猫 が いる", "犬 が いる"]),
    ("1 1/2 cups of tea at 5:30", ["1 1/2 cups of tea", "tea at 5:30"]),
    ("a “curly” quote — and a dash…", ["a quote and a dash", "a 'curly' quote -- and a dash..."]),
    ("word " * 60, ["word " * 3, "another word"]),
    ("a b c d", ["d c b a"]),
    ("nothing in common", ["entirely different words here"]),
]


def scored_corpora(
    generator: random.Random, tokenize: Callable[[list[list[str]]], list[list[list[str]]]]
) -> dict[str, dict[str, Any]]:
    """Corpora by name: ids, predictions and references, with coco-caption's scores of the whole and of each image.

    Args:
        generator: of the made-up captions.
        tokenize: coco-caption's tokeniser of files of captions.
    """
    references = [[ordinary_caption(generator) for _ in range(generator.randint(1, 5))] for _ in range(60)]
    odd = adversarial_captions(generator)
    strange = [[generator.choice(odd) for _ in range(generator.randint(1, 3))] for _ in range(60)]
    corpora = {
        "ordinary": [(_changed(generator.choice(texts), generator), texts) for texts in references],
        "adversarial": [(_changed(generator.choice(texts), generator), texts) for texts in strange],
        "edges": EDGES,
        "neighbours": [
            (texts[0], texts)
            for texts in (caption_file(generator, "light") for _ in range(200))
            if len(texts) in (2, 3, 5)
        ],
        "one image": [("A man rides a bicycle.", ["A man is riding a bicycle.", "a man on a bicycle"])],
    }
    return {name: _scored(images, tokenize) for name, images in corpora.items()}


def _changed(caption: str, generator: random.Random) -> str:
    """Some words less, and some twice."""
    words = [word for word in caption.split() if generator.random() > 0.2]
    return " ".join(word for word in words for _ in range(1 + (generator.random() < 0.05)))


def _scored(
    images: list[tuple[str, list[str]]], tokenize: Callable[[list[list[str]]], list[list[list[str]]]]
) -> dict[str, Any]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    # without captions that the reference takes for two
    whole = [image for image in images if not any(map(LINE_SEPARATOR.search, (image[0], *image[1])))]
    # references and results are one file each, as in coco-caption
    result_tokens, reference_tokens = tokenize(
        [[prediction for prediction, _ in whole], [text for _, references in whole for text in references]]
    )
    joined = iter([" ".join(words) for words in reference_tokens])
    gts = {key: [next(joined) for _ in references] for key, (_, references) in enumerate(whole)}
    res = {key: [" ".join(words)] for key, words in enumerate(result_tokens)}
    bleu, bleus = Bleu(4).compute_score(gts, res, verbose=0)
    rouge, rouges = Rouge().compute_score(gts, res)
    cider, ciders = Cider().compute_score(gts, res)
    return {
        "ids": list(range(len(whole))),
        "predictions": [prediction for prediction, _ in whole],
        "references": [references for _, references in whole],
        "bleu": bleu,
        "rouge_l": float(rouge),
        "cider_d": float(cider),
        "per_image": {
            str(key): {
                "bleu": [scores[key] for scores in bleus],
                "rouge_l": float(rouges[key]),
                "cider_d": float(ciders[key]),
            }
            for key in range(len(whole))
        },
    }
