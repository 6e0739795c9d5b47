"""The one error that a user's input can cause."""


class StyleAVideoError(ValueError):
    """Input that cannot be used; the message is one sentence that says what, where and what to do."""
