"""Commit statuses on GitHub, and on forges that speak its API."""

from urllib.parse import quote

from pydantic import Field

from blocks.context import Context
from blocks.forges.posting import DESCRIPTION_AT_MOST, Api, shown_link
from tasks.common.delivery import Told
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import ADDRESS_PATTERN, PositiveDuration
from tasks.webhook.ports import CommitReport

_STATES = {Told.WAITING: "pending"}


class GithubStatus:
    """Implements `Forge` with commit statuses: the token needs the permission to write them, and no other.

    *Source:* GitHub, "REST API endpoints for commit statuses": POST /repos/OWNER/NAME/statuses/SHA.
    """

    class Settings(StrictModel):
        """Which GitHub, and who reports."""

        token: SecretRef = Field(description="reference to a token that may write commit statuses")
        url: str = Field(
            default="https://api.github.com",
            pattern=ADDRESS_PATTERN,
            description="address of the API; of a GitHub Enterprise Server https://HOST/api/v3",
        )
        timeout_s: PositiveDuration = Field(
            default=5.0, alias="timeout", le=10, description="longest wait for the connection, and for the answer"
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        self._api = Api(settings.url, settings.timeout_s, settings.token, context)

    def report(self, report: CommitReport) -> None:
        """GitHub shows the report, in place of an earlier one of that name. *Idempotent:* yes.

        Raises:
            Retryable: GitHub does not answer, or takes none now.
            Refused: it does not take this one.
        """
        headers = {
            "Authorization": f"Bearer {self._api.token()}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        body = {
            "state": _STATES.get(report.state, report.state.value),
            "context": report.name,
            "description": report.description[:DESCRIPTION_AT_MOST],
            **shown_link(report.link),
        }
        path = f"/repos/{quote(report.repository)}/statuses/{quote(report.commit, safe='')}"
        self._api.require_taken(self._api.post(path, headers, body))
