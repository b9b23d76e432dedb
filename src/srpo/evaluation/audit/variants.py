"""What the audit asks again: the same questions with other images, or with other perceptions to go on from."""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from PIL import Image

from srpo.corruption import CORRUPTIONS, check_ratio, corrupt, corruption_seed
from srpo.data import world
from srpo.data.schema import DataError
from srpo.evaluation.audit.blocks import stated_perception, up_to_perception, written_perception
from srpo.evaluation.audit.donors import Donors
from srpo.evaluation.audit.rows import Row, count_images, without_images
from srpo.evaluation.sampling import Request
from srpo.evaluation.store import ScoredReply
from srpo.pixels import corruption_options, prompt_key
from srpo.roles import DEFAULT_FORMAT, ResponseFormat

IMAGE_VARIANTS = ("corrupted", "blank", "swapped")
PERCEPTION_VARIANTS = ("edited", "own_perception", "other_perception")
VARIANTS = (*IMAGE_VARIANTS, *PERCEPTION_VARIANTS)
CORRUPTION, CORRUPTION_RATIO = "patch_mask", 0.6

Corrupt = Callable[[Image.Image, int], Image.Image]


@dataclass(frozen=True)
class Change:
    """How a request differs from the plain one: which other row lends its images, and the text to go on from."""

    donor: int | None = None
    prefix: str = ""


def check_corruption(kind: str, ratio: float) -> None:
    """Raise ValueError for a corruption that the audit cannot use.

    Args:
        kind: a name of `srpo.corruption.CORRUPTIONS`, but other_image, which the variant "swapped" is about.
        ratio: share of the image that patch_mask masks, in (0, 1].
    """
    kinds = [name for name in CORRUPTIONS if name != "other_image"]
    if kind == "other_image":
        raise ValueError(
            'corruption "other_image" swaps images, which the audit does anyway; name one that changes the image '
            f"itself: {', '.join(kinds)}"
        )
    if kind not in kinds:
        raise ValueError(f"corruption {kind!r} must be one of {', '.join(kinds)}; choose one of these")
    check_ratio(ratio)


def image_corruption(config: Any, processor: Any, kind: str = CORRUPTION, ratio: float = CORRUPTION_RATIO) -> Corrupt:
    """Function (image, seed) -> the image corrupted as `srpo train` does: squares are patches of the model.

    Args:
        config: the model's config.
        processor: the model's.
        kind: a name of `srpo.corruption.CORRUPTIONS` that needs no other image.
        ratio: share of the image that patch_mask masks.

    Raises:
        ValueError: as `check_corruption`.
    """
    check_corruption(kind, ratio)

    def corrupted(image: Image.Image, seed: int) -> Image.Image:
        grid = None
        if kind in ("patch_mask", "patch_shuffle"):
            grid = processor.image_processor(images=[image], return_tensors="pt").get("image_grid_thw")
        options = corruption_options(
            kind,
            [[image]],
            ratio=ratio,
            config=config,
            image_processor=processor.image_processor,
            image_grid_thw=grid,
            dataset=None,
        )
        return corrupt(image, kind, seed=seed, **options(0, 0, seed))

    return corrupted


def plain_corruption(image: Image.Image, seed: int) -> Image.Image:
    """The training corruption in squares of 14 pixels, for samplers without a model config."""
    return corrupt(image, CORRUPTION, seed=seed)


class AuditRequests(Sequence[Request | None]):
    """The requests of one variant, one for each plain reply; None where the variant does not apply to it.

    corrupted: the question with its images corrupted; rows with images.
    blank: with black images of the same size; rows with images.
    swapped: with the images of another row (`Donors`); rows with images that have a donor.
    edited: go on from a perception with one needed fact changed; rows with `truth`.
    other_perception: go on from the perception of a reply to another row (`Donors`); structured replies to rows without
        `truth` that have a donor.
    own_perception: its control, go on from the reply's own perception; the same replies.

    Every draw depends on (seed, variant, row id, sample) alone. Each sample gets a corruption, a donor and an edit of
    its own, so that their chance averages out over the replies to a question. [choice] A request is made when it is
    read, so that no more images are in memory than are asked for.

    Args:
        variant: one of `VARIANTS`.
        rows: the rows of the evaluation, a list or a data set.
        as_is: the plain replies, in any order.
        response_format: the tags.
        seed: of the audit.
        corrupted: function (image, seed) -> corrupted image; see `image_corruption`.
        opened: tag that the chat template opens at the end of every prompt, None for none.

    Raises:
        ValueError: for an unknown variant.
    """

    def __init__(
        self,
        variant: str,
        rows: Sequence[Row],
        as_is: Sequence[ScoredReply],
        *,
        response_format: ResponseFormat = DEFAULT_FORMAT,
        seed: int = 0,
        corrupted: Corrupt = plain_corruption,
        opened: str | None = None,
    ) -> None:
        if variant not in VARIANTS:
            raise ValueError(f"variant {variant!r} must be one of {', '.join(VARIANTS)}; choose one of these")
        self.variant, self.rows, self.as_is, self.seed = variant, rows, as_is, seed
        self._format, self._corrupted, self._opened = response_format, corrupted, opened
        self._texts = without_images(rows)
        self._n_images = [count_images(row["prompt"]) for row in self._texts]
        self._donors = Donors(self._texts, self._n_images)
        self._perceptions = _perceptions(as_is, response_format)
        self._pixels = lru_cache(maxsize=None)(lambda row: prompt_key("", self.rows[row]["images"]))
        self._change = lru_cache(maxsize=None)(self._find_change)

    def __len__(self) -> int:
        return len(self.as_is)

    def __getitem__(self, index: Any) -> Any:
        index = range(len(self))[index]
        change = self._change(index)
        if change is None:
            return None
        reply = self.as_is[index]
        key = f"{self.variant}/{reply.row_id}/{reply.sample}"
        return Request(key, self._texts[reply.row]["prompt"], self._images(reply, change.donor), change.prefix)

    def applies(self, index: int) -> bool:
        """Whether there is a request for this reply; makes none."""
        return self._change(index) is not None

    def _images(self, reply: ScoredReply, donor: int | None) -> list[Image.Image]:
        images = list(self.rows[reply.row if donor is None else donor]["images"] or [])
        seed = corruption_seed(self.seed, reply.sample, reply.row_id)
        if self.variant == "corrupted":
            return [self._corrupted(image, seed + i) for i, image in enumerate(images)]
        if self.variant == "blank":
            return [corrupt(image, "blank", seed=seed) for image in images]
        return images

    def _find_change(self, index: int) -> Change | None:
        reply = self.as_is[index]
        if self.variant in IMAGE_VARIANTS and not self._n_images[reply.row]:
            return None
        if self.variant == "swapped":
            return self._swapped(reply)
        if self.variant == "edited":
            return self._edited(reply)
        if self.variant in ("own_perception", "other_perception"):
            return self._exchanged(reply)
        return Change()

    def _swapped(self, reply: ScoredReply) -> Change | None:
        shown = self._pixels(reply.row)
        donor = self._donors.find(reply.row, self._rng(reply), lambda other: self._pixels(other) != shown)
        return None if donor is None else Change(donor=donor)

    def _edited(self, reply: ScoredReply) -> Change | None:
        truth = self._texts[reply.row].get("truth")
        if not truth:
            return None
        try:
            perception = world.edited(truth, self._rng(reply)).perception
        except DataError:  # no change of one fact changes the answer
            return None
        prefix = up_to_perception(reply.text, self._format, perception)
        return Change(prefix=prefix or written_perception(perception, self._format, self._opened))

    def _exchanged(self, reply: ScoredReply) -> Change | None:
        own = stated_perception(reply.text, self._format)
        if own is None or self._texts[reply.row].get("truth"):
            return None
        rng = random.Random(f"{self.seed}/other_perception/{reply.row_id}/{reply.sample}")
        others = partial(_unlike, self._perceptions, own)
        donor = self._donors.find(reply.row, rng, lambda row: bool(others(row)))
        if donor is None:
            return None
        lent = own if self.variant == "own_perception" else rng.choice(others(donor))
        return Change(prefix=up_to_perception(reply.text, self._format, lent) or "")

    def _rng(self, reply: ScoredReply) -> random.Random:
        return random.Random(f"{self.seed}/{self.variant}/{reply.row_id}/{reply.sample}")


def _perceptions(as_is: Sequence[ScoredReply], response_format: ResponseFormat) -> dict[int, list[str]]:
    """Row -> what its structured replies state, in the order of the samples."""
    stated: defaultdict[int, list[str]] = defaultdict(list)
    for reply in sorted(as_is, key=lambda reply: (reply.row, reply.sample)):
        perception = stated_perception(reply.text, response_format)
        if perception is not None:
            stated[reply.row].append(perception)
    return dict(stated)


def _unlike(perceptions: Mapping[int, list[str]], own: str, row: int) -> list[str]:
    """What the replies to a row state, without what says the same as `own`."""
    return [text for text in perceptions.get(row, []) if text.split() != own.split()]
