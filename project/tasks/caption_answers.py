"""Answers of a captioner to images, as plain types: captions with their log-probabilities, and those of their words."""

from __future__ import annotations

from typing import Any

from project.data.captions.tokenizers import Tokenizer, join_words
from project.data.captions.vocabulary import Vocabulary
from project.decoding import Hypotheses
from project.tasks.caption_search import cut_best


def answers_of(found: Hypotheses, max_words: int, vocabulary: Vocabulary, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """For each image `caption`, `log_probability`, `finished`, `words` with theirs, and the `alternatives`.

    Args:
        found: hypotheses of each image, the best first: all of them are the alternatives.
        max_words: the caption is cut there.
        vocabulary: of their words.
        tokenizer: says how words are joined to a caption.
    """
    best = cut_best(found, max_words)
    ids, sums, scores, finished = (
        best.word_ids(),
        best.log_probability.tolist(),
        found.scores.tolist(),
        found.finished.tolist(),
    )
    every, all_sums, lengths = found.word_ids(), found.log_probability.tolist(), found.lengths.tolist()
    answers = []
    for image, log_probs in enumerate(best.log_probs[:, 0].tolist()):
        words = vocabulary.decode(ids[image][0])
        answers.append({
            "caption": join_words(words, tokenizer),
            "log_probability": sums[image][0],
            "finished": finished[image][0],
            "words": [
                {"word": word, "log_probability": value} for word, value in zip(words, log_probs, strict=False)
            ],
            "alternatives": [
                {
                    "caption": join_words(vocabulary.decode(each), tokenizer),
                    "log_probability": all_sums[image][n],
                    "score": scores[image][n],
                    "finished": finished[image][n],
                }
                for n, each in enumerate(every[image])
                if lengths[image][n]
            ],
        })  # fmt: skip
    return answers
