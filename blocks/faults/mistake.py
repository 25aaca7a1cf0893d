"""The fault `mistake`: somebody has sent the wrong statement. It is on every standby at once, so no failover helps."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import Field

from blocks.context import Context
from blocks.drills.session import Declined, NoAnswer, NotSent, Session
from tasks.common.errors import Refused, Retryable, Unsafe
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import PositiveDuration
from tasks.drill.model import Undone
from tasks.drill.ports import Aim

_WHERE = "select pg_current_wal_insert_lsn(), clock_timestamp() at time zone 'UTC'"
_ASK_WITHIN_S = 10.0


class Mistake:
    """Implements `Fault`: one statement of SQL. Undone by a restore to the moment before, which a person asks for.

    Args:
        settings: which one.
        context: resolves the reference.
    """

    class Settings(StrictModel):
        """Settings of the driver `mistake`."""

        address: SecretRef = Field(description="reference to the address of the database")
        statement: str = Field(min_length=1, description="the wrong statement, such as DROP TABLE or an UPDATE")
        seen_by: str = Field(
            min_length=1,
            description="query of one value that is true as soon as the mistake was made, and false before",
        )
        within_s: PositiveDuration = Field(default=60.0, alias="within", description="longest time that it may take")

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings, self._context = settings, context

    @property
    def reversible(self) -> bool:
        """Return that it is not."""
        return False

    def aim(self) -> Aim:
        """Return where the server's history is before the mistake.

        Raises:
            Refused: it was made already, or it cannot be asked whether it was.
            Retryable: the server does not answer.
        """
        if self._was_made():
            raise Refused("the mistake was made already", on=self._settings.address, next_action="restore it first")
        ((lsn, at),) = self._ask(_WHERE, _ASK_WITHIN_S)
        return {"lsn": lsn, "at": f"{datetime.fromisoformat(str(at)).replace(tzinfo=UTC).isoformat()}"}

    def inject(self, aim: Aim) -> None:
        """The mistake was made. *Idempotent:* yes.

        Raises:
            Refused: the server does not do it.
            Retryable: there is no connection.
            Unsafe: whether it was made is not known.
        """
        del aim
        if not self._was_made():
            self._ask(self._settings.statement, self._settings.within_s)

    def injected(self, aim: Aim) -> bool:
        """Return whether it was made."""
        del aim
        return self._was_made()

    def undo(self, aim: Aim) -> Undone:
        """It is known what a person has to do. *Idempotent:* yes.

        Raises:
            Retryable: the server does not answer.
        """
        if not self._was_made():
            return Undone("the mistake was not made, or is mended")
        back = f"restore to the moment before, {aim['at']} (LSN {aim['lsn']}); carry over what was written since"
        return Undone("no failover and no driver undoes it", by_hand=back)

    def _was_made(self) -> bool:
        rows = self._ask(self._settings.seen_by, _ASK_WITHIN_S)
        if len(rows) != 1 or len(rows[0]) != 1 or rows[0][0] not in ("t", "f"):
            raise Refused(
                "seen_by does not return one truth value", on=self._settings.address, next_action="correct the query"
            )
        return rows[0][0] == "t"

    def _ask(self, statement: str, within_s: float) -> Sequence[Sequence[str | None]]:
        session = Session(self._context.secrets.resolve(self._settings.address))
        try:
            return session.ask(statement, [], time.monotonic() + within_s)
        except Declined as error:
            raise Refused(
                f"the server does not do it: {error}", on=self._settings.address, next_action="correct the statement"
            ) from None
        except NotSent as error:
            raise Retryable(
                f"the server does not answer: {error}", on=self._settings.address, next_action="look at the server"
            ) from None
        except NoAnswer as error:
            raise Unsafe(
                f"a statement of a drill has no answer: {error}",
                on=self._settings.address,
                state="it may have been done",
                next_action="ask the server whether it was; restore to the moment before if it was",
            ) from None
        finally:
            session.close()
