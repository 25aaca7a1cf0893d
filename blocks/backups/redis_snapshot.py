"""Backups of a Redis server: a snapshot as replicas get it, checked, and encrypted with age."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from blocks.backups.programs import Programs
from blocks.backups.sealed import Dumped, SealedEngine, SealedSettings
from blocks.context import Context
from tasks.common.backups import Form, OnProgress, Progress
from tasks.common.errors import Refused, Retryable
from tasks.common.secrets import SecretRef

SNAPSHOT = "dump.rdb"
"""The file that a restore makes."""
_INSTALL = "apt-get install redis-tools"
# Redis answers in words; redis-cli's exit code says no more than that something is wrong.
_REFUSALS = re.compile(r"\b(?:NOAUTH|WRONGPASS|NOPERM)\b|AUTH failed")

_log = logging.getLogger(__name__)


class RedisEngine(SealedEngine):
    """Takes what the server sends to a new replica, and keeps it if redis-check-rdb finds it whole.

    Args:
        settings: which server, where to and for whom.
        context: resolves secrets and paths.
    """

    class Settings(SealedSettings):
        """Settings of the driver `redis`."""

        host: str = Field(min_length=1, pattern=r"^[^-\s]\S*$", description="host name or address of the server")
        port: int = Field(default=6379, ge=1, le=65535, description="its port")
        user: str | None = Field(
            default=None, pattern=r"^[^-\s]\S*$", description="user of the server's ACL; default: the default user"
        )
        password: SecretRef | None = Field(default=None, description="reference to the password")

    form = Form.RDB
    name = "redis"

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self._settings = settings
        self._on = f"Redis on {settings.host}:{settings.port}"
        self._short = Programs(context)

    def _versions(self) -> dict[str, str]:
        check = self._programs.version(["redis-check-rdb", "--version"], _INSTALL)
        return {
            "redis-cli": self._programs.version(["redis-cli", "--version"], _INSTALL),
            "redis-check-rdb": check,
        }

    def _ask_source(self) -> None:
        self._info()

    def _dump(self, into: Path, on_progress: OnProgress) -> Dumped:
        info = self._info()
        size = max(1, int(info.get("used_memory", "0")))
        on_progress(Progress(0, size))
        snapshot = into / SNAPSHOT
        done = self._programs.run(
            self._cli("--rdb", str(snapshot)), env=self._environment(), on_line=_reporter(size, on_progress)
        )
        if done.exit_code != 0:
            raise self._meaning("\n".join(done.tail) or f"redis-cli ended with exit code {done.exit_code}")
        self._check(snapshot)
        return Dumped(self._on, info["redis_version"], size)

    def _check(self, snapshot: Path) -> None:
        done = self._programs.run(["redis-check-rdb", str(snapshot)], env={}, on_line=_log.debug)
        if done.exit_code != 0:
            raise Retryable(
                "the snapshot that the server has sent is not whole",
                on=self._on,
                state="it was thrown away; earlier backups are as they were",
                next_action="run this again; if it happens again, look at the server's memory and its log",
                facts={"redis-check-rdb says": "\n".join(done.tail[-5:])},
            )

    def _info(self) -> dict[str, str]:
        """Return what the server says of itself, by name."""
        done = self._short.ask(self._cli("-e", "INFO", "everything"), env=self._environment())
        lines = (line.partition(":") for line in done.stdout.splitlines() if ":" in line)
        info = {name: value.strip() for name, _, value in lines}
        if done.exit_code != 0 or "redis_version" not in info:
            raise self._meaning("\n".join([*done.tail, self._short.redact(done.stdout[:500])]))
        return info

    def _cli(self, *arguments: str) -> list[str]:
        user = ["--user", self._settings.user] if self._settings.user else []
        return ["redis-cli", "-h", self._settings.host, "-p", str(self._settings.port), *user, *arguments]

    def _environment(self) -> dict[str, str]:
        reference = self._settings.password
        return {"REDISCLI_AUTH": self._resolve(reference)} if reference else {}

    def _meaning(self, said: str) -> Refused | Retryable:
        facts = {"it says": self._programs.redact(said.strip())}
        if _REFUSALS.search(said):
            return Refused(
                "Redis does not let us in, or does not let us copy",
                on=self._on,
                next_action="check user and password; the user needs +sync +replconf +info",
                facts=facts,
            )
        return Retryable(
            "Redis did not answer, or not to the end",
            on=self._on,
            next_action="check that it runs and can be reached from this worker, and that it has memory to fork",
            facts=facts,
        )


def _reporter(size: int, on_progress: OnProgress) -> Callable[[str], None]:
    """Return what takes redis-cli's lines: it is at work, and says no more of how far it is."""

    def read(line: str) -> None:
        _log.info(line)
        on_progress(Progress(0, size))

    return read
