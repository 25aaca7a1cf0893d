"""Whether what is seen is the repository that the catalogue knows, and not the place where it should be. Pure."""

from collections.abc import Sequence

from tasks.common.backups import Entry, StoredBackup, backup_id
from tasks.common.errors import Refused


def require_known(entries: Sequence[Entry], stored: Sequence[StoredBackup], plan: str, repository: int) -> None:
    """At least one of the backups that the catalogue has in a repository is there, where it has any.

    Retention never drops all of them. None at all is what the folder looks like whose disk is not mounted, or a bucket
    of another name: to go by that would put every backup on record as gone, and write into the wrong place.

    Args:
        entries: what the catalogue has of one engine in the repository, as being there.
        stored: what the engine lists there now.
        plan: name of the plan.
        repository: its number.

    Raises:
        Refused: none is there.
    """
    there = {backup_id(plan, repository, each.label) for each in stored}
    if not entries or any(each.id in there for each in entries):
        return
    count = len(entries)
    missing = f"none of the {count} backups is there" if count > 1 else "the backup is not there"
    raise Refused(
        f"repository {repository} of {plan} is not the one that was written: {missing} that the catalogue has",
        on=f"repository {repository} of {plan}",
        state="nothing was changed there, nor in what the catalogue has of it",
        next_action="see that its disk is mounted and that the estate file names the right place, then run this "
        f"again; only if the backups are lost for good: slipway backup {plan} --accept-loss",
        facts={"newest of them": entries[0].id, "other backups there": len(stored)},
    )
