"""Settings, all from environment variables."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """What an instance needs to know before it starts.

    Args:
        port: port of 127.0.0.1 to listen on.
        database_url: PostgreSQL, as libpq reads it.
        token_secret: signs the tokens; the same for all instances, or a log-in is worth nothing on the next one.
        release: name of the running release, shown in every answer and on every metric.
    """

    port: int
    database_url: str
    token_secret: str
    release: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Return the settings; ends the program with one line that names every variable that is missing."""
        needed = ("PORT", "CAMPUS_DATABASE_URL", "CAMPUS_TOKEN_SECRET")
        missing = [name for name in needed if not environment.get(name)]
        if missing:
            raise SystemExit(f"campus cannot start: {', '.join(missing)} not set")
        return cls(
            port=int(environment["PORT"]),
            database_url=environment["CAMPUS_DATABASE_URL"],
            token_secret=environment["CAMPUS_TOKEN_SECRET"],
            release=environment.get("SLIPWAY_RELEASE") or "unreleased",
        )
