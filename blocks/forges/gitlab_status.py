"""Commit statuses on GitLab."""

from urllib.parse import quote

from pydantic import Field

from blocks.context import Context
from blocks.forges.posting import DESCRIPTION_AT_MOST, Api, shown_link
from tasks.common.delivery import Told
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import ADDRESS_PATTERN, PositiveDuration
from tasks.webhook.ports import CommitReport

_STATES = {Told.WAITING: "pending", Told.FAILURE: "failed", Told.ERROR: "failed"}
_IS_SO = "Cannot transition status via :enqueue from :pending"
"""GitLab's answer where a status is pending already. *Source:* jenkinsci/gitlab-plugin issue 885."""


class GitlabStatus:
    """Implements `Forge` with commit statuses: the token needs the scope `api`, and the role Developer.

    A status that is pending stays as it is when it is reported as pending once more, its words too.

    *Source:* GitLab, "Commits API": POST /projects/ID/statuses/SHA.
    """

    class Settings(StrictModel):
        """Which GitLab, and who reports."""

        token: SecretRef = Field(description="reference to a project's access token with the scope api")
        url: str = Field(default="https://gitlab.com", pattern=ADDRESS_PATTERN, description="address of the GitLab")
        timeout_s: PositiveDuration = Field(
            default=5.0, alias="timeout", le=10, description="longest wait for the connection, and for the answer"
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        self._api = Api(settings.url, settings.timeout_s, settings.token, context)

    def report(self, report: CommitReport) -> None:
        """GitLab shows the report, in place of an earlier one of that name. *Idempotent:* yes.

        Raises:
            Retryable: GitLab does not answer, or takes none now.
            Refused: it does not take this one.
        """
        state = _STATES.get(report.state, report.state.value)
        body = {
            "state": state,
            "name": report.name,
            "description": report.description[:DESCRIPTION_AT_MOST],
            **shown_link(report.link),
        }
        path = f"/api/v4/projects/{quote(report.repository, safe='')}/statuses/{quote(report.commit, safe='')}"
        headers = {"PRIVATE-TOKEN": self._api.token()}
        answer = self._api.post(path, headers, body)
        if answer.status == 400 and state == "pending" and _IS_SO in answer.says:
            return
        self._api.require_taken(answer)
