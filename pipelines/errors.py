"""The one error that a user's input can cause."""


class StyleAVideoError(ValueError):
    """Input that cannot be used; the message is one sentence: what, where, what to do."""
