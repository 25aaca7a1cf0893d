"""What is set for pgBackRest, and the configuration file that comes of it."""

from typing import Self

from pydantic import Field, model_validator

from blocks.backups.buckets import S3
from blocks.context import Context
from tasks.common.errors import Refused
from tasks.common.model import Problem, StrictModel, refuse
from tasks.common.secrets import SecretRef
from tasks.common.units import Name, PositiveDuration

_NEVER = 9_999_999
"""Full backups that pgBackRest keeps by itself: the most that it takes. What goes is said by name."""


class Repository(StrictModel):
    """Where backups and WAL are kept."""

    path: str = Field(min_length=1, description="folder; in a bucket: what its keys start with, from /")
    s3: S3 | None = Field(default=None, description="the bucket; none: a folder of this machine")
    cipher_pass: SecretRef | None = Field(
        default=None, description="reference to the key that all is encrypted with (AES-256-CBC); none: not encrypted"
    )


class Settings(StrictModel):
    """Settings of the driver `pgbackrest`."""

    stanza: Name = Field(description="pgBackRest's name for this cluster")
    folder: str = Field(min_length=1, description="folder of its own, for configuration and locks")
    data: str = Field(min_length=1, description="the cluster's data folder")
    socket_dir: str = Field(min_length=1, description="folder of the server's socket")
    port: int = Field(default=5432, ge=1, le=65535, description="the server's port")
    role: str = Field(default="postgres", min_length=1, description="role to sign in as: a superuser")
    password: SecretRef | None = Field(default=None, description="reference to the role's password; none: by peer")
    user: str = Field(default="postgres", min_length=1, description="runs pgBackRest where Slipway runs as root")
    repositories: list[Repository] = Field(
        min_length=1, max_length=2, description="where backups go; the second one in another region"
    )
    process_max: int = Field(default=2, ge=1, le=999, description="files that are worked on at the same time")
    archive_timeout_s: PositiveDuration = Field(
        default=60.0, alias="archive_timeout", description="longest wait for WAL to arrive in the repositories"
    )
    io_timeout_s: PositiveDuration = Field(
        default=30.0, alias="io_timeout", description="longest wait for an answer of a bucket; it is asked four times"
    )
    timeout_s: PositiveDuration = Field(
        default=24 * 3600.0, alias="timeout", description="longest time for a backup, a verification or a restore"
    )

    @model_validator(mode="after")
    def _places_differ(self) -> Self:
        places = [(each.path, each.s3.bucket if each.s3 else "") for each in self.repositories]
        if len(set(places)) < len(places):
            refuse("Settings", [Problem(("repositories",), "one place twice", "two places")])
        return self


def configuration(settings: Settings, context: Context) -> str:
    """Return the text of pgBackRest's configuration file. It holds secrets.

    Raises:
        Refused, Retryable: a secret cannot be resolved, or has a line end.
    """
    folder = context.resolve(settings.folder)
    common = {
        "lock-path": folder / "lock",
        "log-path": folder / "log",
        "log-level-file": "off",
        "log-level-stderr": "off",
        "log-level-console": "detail",
        "log-timestamp": "n",
        "process-max": settings.process_max,
        "compress-type": "zst",
        "start-fast": "y",
        "archive-timeout": max(1, round(settings.archive_timeout_s)),
        "io-timeout": max(1, round(settings.io_timeout_s)),
        # A damaged file is tried again after 15 s else; what a network needs is tried again by whoever calls.
        "job-retry-interval": 1,
        "expire-auto": "n",
    }
    for number, repository in enumerate(settings.repositories, start=1):
        common |= {f"repo{number}-{key}": value for key, value in _repository(repository, context).items()}
    stanza = {
        "pg1-path": context.resolve(settings.data),
        "pg1-port": settings.port,
        "pg1-socket-path": context.resolve(settings.socket_dir),
        "pg1-user": settings.role,
    }
    return f"[global]\n{_lines(common)}\n[{settings.stanza}]\n{_lines(stanza)}"


def _repository(repository: Repository, context: Context) -> dict[str, object]:
    resolve = context.secrets.resolve
    options: dict[str, object] = {
        "path": repository.path if repository.s3 else context.resolve(repository.path),
        "retention-full": _NEVER,
    }
    if repository.cipher_pass:
        options |= {"cipher-type": "aes-256-cbc", "cipher-pass": resolve(repository.cipher_pass)}
    if repository.s3:
        host, _, port = repository.s3.endpoint.partition(":")
        options |= {
            "type": "s3",
            # A request for each of thousands of small files takes longer than what is in them.
            "bundle": "y",
            "s3-bucket": repository.s3.bucket,
            "s3-endpoint": host,
            "s3-region": repository.s3.region,
            "s3-key": resolve(repository.s3.access_key),
            "s3-key-secret": resolve(repository.s3.secret_key),
            "s3-uri-style": "path" if repository.s3.path_style else "host",
            "storage-port": port or 443,
        }
        if repository.s3.ca_file:
            options["storage-ca-file"] = context.resolve(repository.s3.ca_file)
    return options


def _lines(options: dict[str, object]) -> str:
    for name, value in options.items():
        if any(character in str(value) for character in "\r\n\0"):
            raise Refused(
                f"the value of {name} has a line end", on="pgBackRest's configuration", next_action="take it out"
            )
    return "".join(f"{name}={value}\n" for name, value in options.items())
