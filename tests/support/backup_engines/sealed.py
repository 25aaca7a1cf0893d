"""What the rigs of the engines have in common that seal their backups with age."""

from abc import abstractmethod
from pathlib import Path

import pyrage

from blocks.context import Context
from tasks.backup.ports import BackupEngine
from tests.support.backup_engines import Damage, Rig, largest, spoil


class SealedRig(Rig):
    """Two repositories, `repository-1` and `repository-2`, in the folder; keys beside them.

    Args:
        folder: for the length of a test.
        secrets: of the source.
    """

    def __init__(self, folder: Path, *secrets: str) -> None:
        self.folder = folder
        self.key = pyrage.x25519.Identity.generate()
        wrong = pyrage.x25519.Identity.generate()
        (folder / "identity").write_text(f"# created by a test\n{self.key}\n")
        (folder / "wrong-identity").write_text(str(wrong))
        self.secrets = (str(self.key), str(wrong), *secrets)

    @property
    def settings(self) -> dict[str, object]:
        """Return the settings that all of these engines have."""
        return {
            "repositories": ["repository-1", "repository-2"],
            "recipients": [str(self.key.to_public())],
            "identity": "file:identity",
        }

    @abstractmethod
    def with_settings(self, **settings: object) -> BackupEngine:
        """Return an engine with other settings than the usual ones."""

    def context(self) -> Context:
        return Context(base=self.folder)

    def open(self) -> BackupEngine:
        return self.with_settings()

    def damage(self, label: str, how: Damage) -> None:
        spoil(largest(self.folder / "repository-1" / label, "*.age"), how)

    def with_wrong_key(self) -> BackupEngine:
        return self.with_settings(identity="file:wrong-identity")
