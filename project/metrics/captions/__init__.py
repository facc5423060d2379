"""What captions are measured by: BLEU, ROUGE-L and CIDEr-D equal to coco-caption's without Java, and what they miss."""

from project.metrics.captions.bleu import BLEU
from project.metrics.captions.cider import CIDErD, DocumentFrequencies
from project.metrics.captions.corpus import CaptionMetric
from project.metrics.captions.diversity import CaptionDiversity, ExactMatch
from project.metrics.captions.java import METEOR, SPICE
from project.metrics.captions.retrieval import retrieval_scores
from project.metrics.captions.rouge import ROUGEL
from project.metrics.captions.scores import CaptionScores

__all__ = [
    "BLEU",
    "METEOR",
    "ROUGEL",
    "SPICE",
    "CIDErD",
    "CaptionDiversity",
    "CaptionMetric",
    "CaptionScores",
    "DocumentFrequencies",
    "ExactMatch",
    "retrieval_scores",
]
