"""What a run has come to, decided from how it failed or from what it has recorded."""

from collections.abc import Sequence

from tasks.common.errors import Unsafe
from tasks.common.lease import LeaseLost
from tasks.release.model import Artifact, Evidence, Outcome


def outcome_of(error: BaseException, *, moved: bool, turned_back: bool) -> Outcome:
    """Return the outcome of a run that ended with an error.

    Args:
        error: what ended it.
        moved: it gave its release traffic in the environment that it is for.
        turned_back: the environment that the run is for was returned to its former release.
    """
    if isinstance(error, Unsafe):
        return Outcome.UNSAFE
    if isinstance(error, LeaseLost):
        return Outcome.INTERRUPTED
    if turned_back:
        return Outcome.ROLLED_BACK
    # Traffic was moved, and it is not known to have gone back: not something to call unchanged.
    return Outcome.UNSAFE if moved else Outcome.FAILED


def built(evidence: Sequence[Evidence], digest: str | None) -> Artifact | None:
    """Return the artefact that a run has published; None if it has not come so far.

    Args:
        evidence: what the run has recorded.
        digest: the record's own, as a rollback has it: its artefact was published by an earlier run.
    """
    if digest is not None:
        return Artifact(digest, 0, 0)
    published = {item.name for item in evidence if item.kind == "publish" and "error" not in item.facts}
    for item in evidence:
        facts = item.facts
        if item.kind == "build" and facts.get("digest") in published:
            size, files = facts.get("size_bytes"), facts.get("files")
            assert isinstance(size, int) and isinstance(files, int), "as the build has recorded them"
            return Artifact(str(facts["digest"]), size, files)
    return None
