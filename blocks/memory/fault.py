"""A fault in memory, for tests and dry runs."""

from pydantic import Field

from blocks.context import Context
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.drill.model import Undone
from tasks.drill.ports import Aim

BROKEN: set[str] = set()
"""Names of what is broken now, for everybody in this process."""


class MemoryFault:
    """Implements `Fault`: a name is among those that are broken."""

    class Settings(StrictModel):
        """Settings of the driver `memory`."""

        thing: str = Field(min_length=1, description="what breaks")
        reversible: bool = Field(default=True, description="whether undoing mends it")

    def __init__(self, settings: Settings, context: Context) -> None:
        del context
        self._settings = settings

    @property
    def reversible(self) -> bool:
        """Return what the settings say."""
        return self._settings.reversible

    def aim(self) -> Aim:
        """Return what breaks.

        Raises:
            Refused: it is broken already.
        """
        if self._settings.thing in BROKEN:
            raise Refused("it is broken already", on=self._settings.thing, next_action="mend it first")
        return {"thing": self._settings.thing}

    def inject(self, aim: Aim) -> None:
        """It is broken. *Idempotent:* yes."""
        BROKEN.add(aim["thing"])

    def injected(self, aim: Aim) -> bool:
        """Return whether it is broken."""
        return aim["thing"] in BROKEN

    def undo(self, aim: Aim) -> Undone:
        """It is whole, where that can be. *Idempotent:* yes."""
        if aim["thing"] not in BROKEN:
            return Undone("nothing was broken")
        if not self._settings.reversible:
            return Undone("it stays broken", by_hand=f"mend {aim['thing']}")
        BROKEN.discard(aim["thing"])
        return Undone("it is whole again")
