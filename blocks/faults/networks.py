"""Network namespaces that faults cut, each with `ip` and `nft` inside of it. The machine's own network is never hit."""

import json
from pathlib import Path
from typing import Any

from blocks.context import Context
from blocks.faults.system import attempt, command
from tasks.common.errors import Refused

_NAMESPACES = Path("/run/netns")


class Namespace:
    """A namespace that `ip netns` knows.

    Args:
        name: of it.
        context: redacts.
    """

    def __init__(self, name: str, context: Context) -> None:
        self.name, self._context = name, context

    @property
    def exists(self) -> bool:
        """Return whether there is such a namespace."""
        return bool(self.name) and "/" not in self.name and (_NAMESPACES / self.name).exists()

    def require(self) -> None:
        """It exists.

        Raises:
            Refused: it does not.
        """
        if not self.exists:
            raise Refused(
                f"there is no network namespace {self.name!r}",
                on=f"namespace {self.name}",
                next_action="'ip netns' lists them; the machine's own network is never cut by a drill",
            )

    def ip(self, *words: str) -> str:
        """Return what `ip` prints in it.

        Raises:
            Refused: it has failed.
        """
        return command(["ip", "-n", self.name, *words], self._context, f"namespace {self.name}")

    def ip_data(self, *words: str) -> list[dict[str, Any]]:
        """Return what `ip` prints in it, as data; nothing where it has failed."""
        done = attempt(["ip", "-n", self.name, "-j", *words], self._context)
        return list(json.loads(done.stdout)) if done.exit_code == 0 and done.stdout.strip() else []

    def nft(self, rules: str) -> str:
        """All of the rules hold, or none.

        Raises:
            Refused: it has failed.

        *Source:* nft(8): what one command line says is one transaction.
        """
        return command(["ip", "netns", "exec", self.name, "nft", rules], self._context, f"namespace {self.name}")

    def has_table(self, table: str) -> bool:
        """Return whether it has a table of nft rules."""
        words = ["ip", "netns", "exec", self.name, "nft", "list", "table", "inet", table]
        return attempt(words, self._context).exit_code == 0
