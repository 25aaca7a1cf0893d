"""Why a delivery starts nothing, although it was not asked about any rule."""

from tasks.common.errors import SlipwayError


class Forged(SlipwayError):
    """Nobody has shown that the sender knows the secret."""


class Malformed(SlipwayError):
    """The sender is known, but what was sent is not what it sends."""
