"""A commit that is built, tested and scanned: for a release, or only to see whether it could be one."""

from pathlib import Path

from blocks.estate import OpenEstate
from blocks.journal import Journal
from tasks.common.errors import Refused
from tasks.common.service import ServiceFile
from tasks.release.model import Artifact, Commit
from tasks.release.ports import Source


class Work:
    """What the steps up to the scans share.

    Args:
        estate: where.
        service: the service file that the commit is judged by.
        commit: what it is about.
        journal: gets the evidence.
        folder: for everything that is made of it.

    `artifact` is what was built, None until then; `again` is what somebody does who has mended the commit.
    """

    again = "mend it in the repository, and release the new commit"

    def __init__(
        self, estate: OpenEstate, service: ServiceFile, commit: Commit, journal: Journal, folder: Path
    ) -> None:
        self.estate = estate
        self.service = service
        self.commit = commit
        self.journal = journal
        self.folder = folder
        self.artifact: Artifact | None = None

    @property
    def tree(self) -> Path:
        """Return where the commit's tree is checked out."""
        return self.folder / "tree"

    @property
    def archive(self) -> Path:
        """Return where the build puts the artefact."""
        return self.folder / "artifact.tar.gz"

    @property
    def source(self) -> Source:
        """Return where the commits come from."""
        return self.estate.source(self.service.service)

    def redact(self, text: str) -> str:
        """Return the text without secrets."""
        return self.estate.context.secrets.redact(text)

    def check_out(self) -> None:
        """The commit's tree is in the folder. *Idempotent:* yes."""
        self.source.check_out(self.commit, self.tree)

    def history(self) -> Path:
        """A repository with the commit and its ancestors is in the folder; returns its path. *Idempotent:* yes."""
        into = self.folder / "history"
        self.source.history(self.commit, into)
        return into

    def test_env(self) -> dict[str, str]:
        """Return what the tests are told: the secrets that they ask for.

        Raises:
            Refused: the estate does not supply one of them.
        """
        name = self.service.service
        references = self.estate.service(name).test_secrets
        missing = sorted(set(self.service.test.secrets) - set(references))
        if missing:
            raise Refused(
                f"the estate supplies no {', '.join(missing)} for the tests",
                on=name,
                next_action=f"add them under services.{name}.test_secrets of the estate file",
            )
        return {each: self.estate.context.secrets.resolve(references[each]) for each in self.service.test.secrets}
