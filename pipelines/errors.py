"""The one error that a user's input can cause."""

from __future__ import annotations


class StyleAVideoError(ValueError):
    """Input that cannot be used; the message is one sentence: what, where, what to do.

    Args:
        what: the sentence, up to where it would name options of the command line.
        remedy: that end of the sentence.
        in_graph: the end that takes its place inside ComfyUI; by default the same.
    """

    inside_comfyui = False
    """Set by `nodes` when ComfyUI loads the pack: the one thing that the host decides for all."""

    def __init__(self, what: str, remedy: str = "", in_graph: str | None = None) -> None:
        end = in_graph if self.inside_comfyui and in_graph is not None else remedy
        super().__init__(what + end)
