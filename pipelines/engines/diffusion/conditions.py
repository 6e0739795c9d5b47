"""The U-Net's inputs for each condition of the guidance, and for all of them as one batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...errors import StyleAVideoError

SEES_FRAME = ("frame", "frame_text", "attention")
SEES_TEXT = ("text", "frame_text")


@dataclass(frozen=True)
class Text:
    """Encoded prompts: hidden (T,L,D), and pooled (T,P) where the U-Net takes it."""

    hidden: Tensor
    pooled: Tensor | None

    def part(self, part: slice) -> Text:
        """The text of some of the frames."""
        return Text(self.hidden[part], None if self.pooled is None else self.pooled[part])

    def rows(self, count: int, config: Any) -> Text:
        """One row a frame, for a U-Net of this configuration.

        Raises:
            StyleAVideoError: neither one row nor one a frame; a width that is not the U-Net's, or
                no pooled text where it takes that.
        """
        if len(self.hidden) not in (1, count):
            raise StyleAVideoError(
                f"prompt has {len(self.hidden)} rows: give one, or one for each of the {count} "
                "frames."
            )
        width = self.hidden.shape[-1]
        pooled = config.class_embed_type == "projection"
        if width != config.cross_attention_dim or pooled != (self.pooled is not None):
            raise StyleAVideoError(
                f"prompt is an encoded text of {width} channels "
                f"{'without' if self.pooled is None else 'with'} pooled text; this U-Net takes "
                f"{config.cross_attention_dim} {'with' if pooled else 'without'} it."
            )
        rows = [0] * count if len(self.hidden) == 1 else list(range(count))
        return Text(self.hidden[rows], None if self.pooled is None else self.pooled[rows])

    def said_again(self, length: int) -> Text:
        """Hidden states repeated to a multiple of their length: attention gives the same."""
        return replace(self, hidden=self.hidden.repeat(1, length // self.hidden.shape[1], 1))

    def lerp(self, other: Text, share: float) -> Text:
        """So much of the other text, of equal width and rows or of one row; what is left of this.

        Raises:
            ValueError: one of them is pooled and the other is not.
        """
        mine, others = (text.hidden for text in of_one_length([self, other]))
        hidden = mine.lerp(others, share)
        if self.pooled is None and other.pooled is None:
            return Text(hidden, None)
        if self.pooled is None or other.pooled is None:
            raise ValueError("one text is pooled and the other is not")
        return Text(hidden, self.pooled.lerp(other.pooled, share))

    def to(self, like: Tensor) -> Text:
        """On the device of a tensor, in its precision."""
        return Text(self.hidden.to(like), None if self.pooled is None else self.pooled.to(like))


def of_one_length(texts: Sequence[Text]) -> list[Text]:
    """Texts said again until all are equally long."""
    length = math.lcm(*(text.hidden.shape[1] for text in texts))
    return [text.said_again(length) for text in texts]


def joined(texts: Sequence[Text]) -> Text:
    """The rows of all texts, either all pooled or none."""
    hidden = torch.cat([text.hidden for text in of_one_length(texts)])
    pooled = [text.pooled for text in texts if text.pooled is not None]
    return Text(hidden, torch.cat(pooled) if pooled else None)


@dataclass(frozen=True)
class Conditions:
    """c_I, c_T, ∅ and M of T frames (Huang et al. 2023, section 3.2).

    Attributes:
        image_latents: c_I (T,C,h,w); None for a U-Net that takes z_t alone.
        prompt: c_T; null: the text of ∅, the empty or the negative prompt.
        mask: M (T,1,h,w), None where no condition needs it; c_M = M ⊙ c_I.
    """

    image_latents: Tensor | None
    prompt: Text
    null: Text
    mask: Tensor | None = None

    def batch(self, names: Sequence[str], z: Tensor, part: slice) -> tuple[Tensor, Text]:
        """U-Net input (K·T',C',h,w) and text for K conditions of the T' frames in `part`.

        The batch is condition by condition; z is z_t of those frames. A condition that sees the
        frame concatenates its latent to z_t, the others zeros.
        """
        texts = [(self.prompt if name in SEES_TEXT else self.null).part(part) for name in names]
        text = joined(texts)
        x = z.repeat(len(names), 1, 1, 1)
        if self.image_latents is None:
            return x, text
        images = torch.cat([self._image(name, self.image_latents[part], part) for name in names])
        return torch.cat([x, images], dim=1), text

    def _image(self, name: str, c_i: Tensor, part: slice) -> Tensor:
        if name not in SEES_FRAME:
            return torch.zeros_like(c_i)
        if name == "attention" and self.mask is not None:
            return self.mask[part] * c_i
        return c_i
