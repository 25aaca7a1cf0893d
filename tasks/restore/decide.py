"""Whether a target may be touched, what a run that has died has left, and what a restore will do. Pure."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from tasks.common.backup_plans import RestoreTarget
from tasks.common.backups import OF_POSTGRESQL, Form
from tasks.common.errors import Refused, Unsafe
from tasks.common.units import show_size
from tasks.restore.choose import moment
from tasks.restore.model import Chosen, Phase, Seen, Settlement

_OVER_THE_FORMER = frozenset({Phase.FILLING, Phase.RECOVERING, Phase.MASKING, Phase.RETURNING})


def settle(seen: Seen, where: str) -> Settlement:
    """Return what has to be done about a run that has died, before anything else.

    Decided from what is there beside what is on record: the record was written before the change, which may have
    happened or not.

    Raises:
        Unsafe: what is there fits no moment of a restore: somebody has moved folders.
    """
    journal = seen.journal
    if journal is None or journal.phase is Phase.DONE:
        return Settlement.NOTHING
    if journal.phase is Phase.OPENING:
        return Settlement.CARRY_ON
    if journal.phase in _OVER_THE_FORMER:
        if not journal.aside or seen.aside_there:
            return Settlement.BRING_BACK
        if journal.phase is Phase.RETURNING:
            return Settlement.START
        raise _moved(seen, where, "the state that was put aside is not there")
    if not seen.aside_there:
        return Settlement.START
    if seen.filled:
        raise _moved(seen, where, "there is a data folder as well as the state that was put aside")
    return Settlement.BRING_BACK


def require_fits(form: Form, forms: AbstractSet[Form], target: RestoreTarget, on: str) -> None:
    """The target takes what the plan's engine restores, and asks nothing of it that it has not.

    Args:
        form: of what the engine restores.
        forms: those that the target takes.
        target: what the estate file says of it.
        on: the plan and the target, for errors.

    Raises:
        Refused: it does not.
    """
    if form not in forms:
        raise Refused(
            f"the target takes backups of the form {' or '.join(sorted(forms))}, and the plan's are {form.value}",
            on=on,
            next_action="name another target: the driver 'postgresql' takes a server's backups and dumps, 'folder' "
            "files and Redis snapshots",
        )
    asked = [name for name, given in (("masking", target.masking), ("database", target.database)) if given is not None]
    if form not in OF_POSTGRESQL and asked:
        raise Refused(
            f"the target has {' and '.join(repr(name) for name in asked)}, and there is no database in a backup of the "
            f"form {form.value}",
            on=on,
            next_action="remove it from the target in the estate file: only a PostgreSQL server is masked",
        )


def must_ask(seen: Seen, target: RestoreTarget, where: str, address: str) -> bool:
    """Return whether something is there that the restore would take the place of: then a person is asked.

    Raises:
        Refused: nothing may be restored to here.
    """
    if seen.problem:
        raise Refused(seen.problem, on=where, next_action="name another target, or do away with what is in the way")
    if not seen.filled:
        if seen.answers:
            raise Refused(
                f"another server answers on {address}, and the target's data folder is empty",
                on=where,
                next_action="give the target an address of its own in the estate file",
            )
        return False
    if seen.running and not target.source and not seen.ours:
        raise Refused(
            "a server runs there that no restore has put up, and the target is not the plan's source",
            on=where,
            next_action="name an empty folder; or stop that server yourself, if nobody needs it; or write 'source: "
            "true' under the target if it is what the plan backs up",
        )
    return True


def require_room(chosen: Chosen, seen: Seen, where: str) -> None:
    """There is room for what is restored, beside what is there, which stays.

    Raises:
        Refused: there is not.
    """
    wanted = chosen.entry.stored.size_bytes
    if seen.free_bytes < wanted:
        raise Refused(
            f"there is no room: {show_size(wanted)} are wanted, {show_size(seen.free_bytes)} are free",
            on=where,
            next_action="free space there; former states that were put aside (*.aside-*) are never removed by Slipway",
        )


def steps_of(chosen: Chosen, target: RestoreTarget, seen: Seen, address: str, form: Form) -> tuple[str, ...]:
    """Return what the restore will do, in order, for people."""
    over = seen.filled
    proof = "restore it into the plan's scratch server, and climb the ladder of verification"
    makes_whole = {
        Form.CLUSTER: f"start it where nobody can reach it, and let it recover to {state_of(chosen, form)}",
        Form.DUMP: "make a new cluster, and load the dump where nobody can reach it",
    }
    steps = [
        f"start from {chosen.entry.id}, complete at {moment(chosen.entry.stored.ended_at)}",
        *([proof, "ask a person, and wait for the answer"] if over else []),
        *(["stop the server that is there, cleanly"] if seen.running else []),
        *(["rename the folder that is there: it is never removed, and brought back if anything fails"] if over else []),
        "fetch the backup into the data folder" if form is Form.CLUSTER else "fetch the backup beside the folder",
        makes_whole.get(form, "read it to its end"),
        *(["mask it, and search it for mail addresses; if any is left, remove it"] if target.masking else []),
        f"start it on {address}, and see that it answers" if address else "put it into its place; nothing is started",
    ]
    return tuple(steps)


def state_of(chosen: Chosen, form: Form) -> str:
    """Return in words which state is to be reached."""
    if form is not Form.CLUSTER:
        return "that of the backup"
    if chosen.to.at is not None:
        return moment(chosen.to.at)
    return "the end of the backup" if chosen.to.backup_only else "the end of the WAL that there is"


def question(
    wish: str,
    chosen: Chosen,
    form: Form,
    where: str,
    steps: Sequence[str],
    verdict: str,
    asked_by: str,
    expires_in: str,
) -> tuple[tuple[str, str], ...]:
    """Return what a person is told before the answer, as rows of a name and a text."""
    return (
        ("what", wish),
        ("over", where),
        ("starts from", f"{chosen.entry.id}, complete at {moment(chosen.entry.stored.ended_at)}"),
        ("comes back to", state_of(chosen, form)),
        ("validated", verdict),
        ("lost", "whatever was written there since then; the present state is put aside, and not removed"),
        ("asked for by", f"{asked_by or 'unknown'} (not authenticated)"),
        ("without an answer", f"it ends within {expires_in}, and nothing is changed"),
        *((f"step {number}", step) for number, step in enumerate(steps, start=1)),
    )


def _moved(seen: Seen, where: str, what: str) -> Unsafe:
    journal = seen.journal
    assert journal is not None
    return Unsafe(
        f"a restore has died here, and {what}",
        on=where,
        state="somebody has moved folders since; nothing was changed now",
        next_action="put the folder that is to serve into its place by hand, then remove the record of the restore "
        "(journal.json in the folder beside it whose name ends in .slipway)",
        facts={"its run": journal.run_id, "was about to be": journal.phase.value, "put aside": journal.aside or "none"},
    )
