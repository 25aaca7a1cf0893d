"""What is set for barman-cloud, and the two files of Amazon's tools that come of it."""

from pydantic import Field

from blocks.backups.buckets import S3
from blocks.context import Context
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import Name, PositiveDuration, Size


class Settings(StrictModel):
    """Settings of the driver `barman-cloud`."""

    server: Name = Field(description="Barman's name for this cluster; nothing else may use it in the bucket")
    folder: str = Field(min_length=1, description="folder of its own, for the keys and for what is under way")
    data: str = Field(min_length=1, description="the cluster's data folder")
    socket_dir: str = Field(min_length=1, description="folder of the server's socket")
    port: int = Field(default=5432, ge=1, le=65535, description="the server's port")
    role: str = Field(default="postgres", min_length=1, description="role to sign in as: a superuser")
    password: SecretRef | None = Field(default=None, description="reference to the role's password; none: by peer")
    user: str = Field(default="postgres", min_length=1, description="runs barman-cloud where Slipway runs as root")
    path: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$", description="what the keys start with"
    )
    s3: S3 = Field(description="the bucket that backups and WAL are kept in")
    jobs: int = Field(default=2, ge=1, le=64, description="parts that are sent at the same time")
    max_rate: Size | None = Field(default=None, ge=32 * 2**10, description="bytes a second that are sent, at most")
    archive_timeout_s: PositiveDuration = Field(
        default=60.0, alias="archive_timeout", description="longest wait for WAL to arrive in the bucket"
    )
    timeout_s: PositiveDuration = Field(
        default=24 * 3600.0, alias="timeout", description="longest time for a backup or a restore"
    )

    @property
    def url(self) -> str:
        """Return the place in Barman's words: 's3://bucket/path'."""
        return f"s3://{self.s3.bucket}/{self.path}"

    @property
    def root(self) -> str:
        """Return what all keys of this cluster start with."""
        return f"{self.path}/{self.server}/"


def credentials(settings: Settings, context: Context) -> str:
    """Return the text of the file with the keys. It holds secrets.

    Raises:
        Refused, Retryable: a secret cannot be resolved, or has a line end.
    """
    resolve = context.secrets.resolve
    keys = {
        "aws_access_key_id": resolve(settings.s3.access_key),
        "aws_secret_access_key": resolve(settings.s3.secret_key),
    }
    for name, value in keys.items():
        if any(character in value for character in "\r\n\0"):
            raise Refused(f"the value of {name} has a line end", on="barman-cloud's keys", next_action="take it out")
    return _section(keys)


def configuration(settings: Settings, context: Context) -> str:
    """Return the text of the file that says where the bucket is.

    *Source:* the guide of Amazon's tools, 'Configuration and credential file settings'.
    """
    given = settings.s3
    options = {
        "region": given.region,
        "endpoint_url": f"https://{given.endpoint}",
        "retry_mode": "standard",
        # Older servers of other makers refuse the new default checksums; what comes back is checked by gzip's own.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "s3": f"\n  addressing_style = {'path' if given.path_style else 'virtual'}",
    }
    if given.ca_file:
        options["ca_bundle"] = str(context.resolve(given.ca_file))
    return _section(options)


def _section(options: dict[str, str]) -> str:
    return "[default]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())
