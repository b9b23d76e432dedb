"""The built-in visual world: drawn images with exact scene truth, a question, and an answer that needs the image.

Six families of growing depth: `count`, `pips`, `compare`, `chain`, `chart`, `angle`. A row carries the true perception
and, in the JSON column `truth`, what is needed to grade a perception or to compute the answer again from an edited one.
"""

from srpo.data.world.families import FAMILIES, FAMILY_NAMES
from srpo.data.world.rows import SPLITS, generate, split_of
from srpo.data.world.truth import edited, read_truth, recompute, reply, score_perception

__all__ = [
    "FAMILIES",
    "FAMILY_NAMES",
    "SPLITS",
    "edited",
    "generate",
    "read_truth",
    "recompute",
    "reply",
    "score_perception",
    "split_of",
]
