"""Search: from a network that scores the next token to whole hypotheses. Knows nothing of images or of training.

`greedy_search`, `beam_search` (also in diverse groups) and `sample` take a `Step`, whatever network is behind it, or
several through `ensemble`; `Rules` say which hypotheses are allowed, `LengthPenalty` how long ones compare with short
ones, and `Hypotheses` are what all of them return.
"""

from project.decoding.beam import beam_search
from project.decoding.chains import greedy_search, sample
from project.decoding.hypotheses import Hypotheses
from project.decoding.length import LengthPenalty
from project.decoding.rules import Rules
from project.decoding.steps import Step, ensemble

__all__ = ["Hypotheses", "LengthPenalty", "Rules", "Step", "beam_search", "ensemble", "greedy_search", "sample"]
