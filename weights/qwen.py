"""What newer editors read words with: Qwen's tokenizer, and words with a picture for its VL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .building import making
from .folder import copies_of

PICTURE = "<|image_pad|>"
CHAT = (
    "{% for message in messages %}<|im_start|>user\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant\n<think>\n\n</think>\n\n"
)
"""Qwen 3's own template for one message, without thinking. A folder's could be any program."""


def read_qwen_tokenizer(folder: Path) -> Any:
    """From a copy of its one file that is checked.

    Raises:
        StyleAVideoError: the file is missing, too large, or no tokenizer of Qwen's.
    """
    from transformers import PreTrainedTokenizerFast

    with copies_of([folder / "tokenizer.json"]) as copies:
        with making(folder):
            tokenizer = PreTrainedTokenizerFast(
                tokenizer_file=str(copies / "tokenizer.json"),
                pad_token="<|endoftext|>",
                eos_token="<|im_end|>",
                padding_side="right",
                chat_template=CHAT,
            )
            known = tokenizer.get_vocab()
            if missing := [sign for sign in ("<|im_start|>", PICTURE) if sign not in known]:
                raise ValueError(f"{missing[0]} is not in it")
    return tokenizer


class QwenWords:
    """In the place of transformers' Qwen2VLProcessor, which wants torchvision for videos.

    Attributes:
        tokenizer: whose texts hold PICTURE once for each picture.
        images: transformers' image processor.
    """

    def __init__(self, tokenizer: Any, config: Mapping[str, Any]) -> None:
        import transformers

        self.tokenizer = tokenizer
        # Where torchvision is there, transformers 5 has two of them.
        name = "Qwen2VLImageProcessor"
        kind = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
        self.images = kind(**config)

    def __call__(
        self, text: Sequence[str], images: Any, padding: bool = True, return_tensors: str = "pt"
    ) -> Any:
        """Numbers of the words, with as many signs for a picture as it has patches, and these."""
        from transformers import BatchFeature

        seen = self.images(images, return_tensors=return_tensors)
        counts = (seen["image_grid_thw"].prod(-1) // self.images.merge_size**2).tolist()
        pieces = "\0".join(text).split(PICTURE)
        signs = [PICTURE * count for count in counts] + [""]
        whole = "".join(a + b for a, b in zip(pieces, signs, strict=True)).split("\0")
        words = self.tokenizer(whole, padding=padding, return_tensors=return_tensors)
        return BatchFeature({**words, **seen})
