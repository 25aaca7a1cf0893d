"""What the receiver answers, as its OpenAPI document says it."""

from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

RETRY_AFTER_S = 30


class Taken(BaseModel):
    """The delivery is on record."""

    delivery: str = Field(description="its id here")
    status: str = Field(description="what has become of it: waiting, started, ignored, repeated, refused")
    why: str = Field(description="why it starts nothing, or which run it has started")


class NotTaken(BaseModel):
    """The delivery is not taken, and nothing was kept."""

    error: str = Field(description="what is wrong")
    next: str = Field(description="what the sender does next")


class Health(BaseModel):
    """How the receiver is."""

    status: str
    next: str = Field(default="", description="what to do where it is not well")


class Refusal(Exception):
    """A delivery is not taken.

    Args:
        status: of the answer.
        what: is wrong.
        next_action: what the sender does next.
        again_in_s: when it makes sense to send it again; only for 429 and 503.
    """

    def __init__(self, status: int, what: str, next_action: str, again_in_s: int = RETRY_AFTER_S) -> None:
        self.status, self.what, self.next_action, self.again_in_s = status, what, next_action, again_in_s
        super().__init__(what)

    def answer(self) -> JSONResponse:
        """Return it as the sender gets it."""
        headers = {"Retry-After": str(self.again_in_s)} if self.status in (429, 503) else {}
        return JSONResponse({"error": self.what, "next": self.next_action}, self.status, headers)


_WHY = {
    400: "It is signed, but not what the source sends.",
    401: "Signature, token or signed time do not fit.",
    403: "This origin may not send here.",
    404: "There is no such source.",
    405: "This source has no handshake.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is not of a type that the source sends.",
    429: "Too many deliveries.",
    503: "It cannot be kept now.",
}


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the refusals with these statuses, for the OpenAPI document."""
    again = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}
    return {
        status: {"model": NotTaken, "description": _WHY[status], **({"headers": again} if status in (429, 503) else {})}
        for status in statuses
    }
