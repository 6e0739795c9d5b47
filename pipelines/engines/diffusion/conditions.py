"""The U-Net's inputs for each condition of the guidance, and for all of them as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SEES_FRAME = ("frame", "frame_text", "attention")
SEES_TEXT = ("text", "frame_text")


@dataclass(frozen=True)
class Text:
    """Encoded prompts: hidden (T,77,D), and pooled (T,P) where the U-Net takes it."""

    hidden: Tensor
    pooled: Tensor | None

    def part(self, part: slice) -> Text:
        """The text of some of the frames."""
        return Text(self.hidden[part], None if self.pooled is None else self.pooled[part])


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
        pooled = [text.pooled for text in texts if text.pooled is not None]
        hidden = torch.cat([text.hidden for text in texts])
        text = Text(hidden, torch.cat(pooled) if pooled else None)
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
