"""A service whose pull requests are checked: its repository, an estate, and what a check has left to be seen."""

import json
import os
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)

from blocks.ledger import PostgresqlLedger
from flows.check import check
from tasks.release.request import CheckRequest
from tests.support.ledger import open_ledger
from tests.support.needs import missing
from tests.support.repositories import Repo
from tests.support.small import SERVICE, sarif

USER = "nobody"
# It notices what somebody has put into its home before it.
SCAN = {"tool": "lint", "command": ["sh", "-c", 'cp report.sarif "$0"; test ! -e ~/planted || exit 9', "{output}"]}


class Place:
    """An estate in a folder, and the repository of its service.

    Args:
        folder: not below pytest's, which every session of the same user closes to others when it begins.
        database_url: for the ledger.
        checks: settings of the estate.
    """

    def __init__(self, folder: Path, database_url: str, **checks: object) -> None:
        if os.geteuid() != 0:
            missing("only root can run commands as another user")
        folder.chmod(0o711)
        self.folder, self.store, self.work = folder, folder / "store", folder / "work"
        (folder / "secrets").mkdir()
        self.dsn = self.secret("dsn", database_url)
        self.ledger: PostgresqlLedger = open_ledger(folder / "secrets", database_url)
        self.repo = Repo(folder / "repository")
        self.base = self.commit("Start")
        self.file = folder / "estate.yaml"
        self.settings: dict[str, Any] = {"user": USER, **checks}
        self.services: dict[str, Any] = {"repository": "repository"}
        self.write()

    def secret(self, name: str, value: str, mode: int = 0o600) -> Path:
        """Write a secret to a file of its own, and return the file."""
        path = self.folder / "secrets" / name
        path.write_text(value)
        path.chmod(mode)
        return path

    def write(self) -> None:
        """The estate file says what `settings` and `services` say."""
        site = {"url": "http://127.0.0.1:1", "replicas": 1}
        site |= {name: {"driver": "memory"} for name in ("runtime", "router", "metrics")}
        estate = {
            "estate": "checking",
            "workspace": "work",
            "ledger": {"driver": "postgresql", "dsn": "file:secrets/dsn"},
            "store": {"driver": "folder", "folder": "store"},
            "environments": {"production": site},
            "services": {"campus": self.services},
            "checks": self.settings,
        }
        self.file.write_text(yaml.safe_dump(estate))

    def commit(self, subject: str, files: dict[str, str] | None = None, **parts: object) -> str:
        """Commit a version of the service, with other parts of its service file, and return its hash."""
        service = {**SERVICE, "scan": [SCAN], **parts}
        usual = {"slipway.yaml": yaml.safe_dump(service), "report.sarif": sarif(), "app.py": "", "answers.json": "{}"}
        return self.repo.commit(subject, {**usual, **(files or {})})

    def pull_request(self, subject: str, files: dict[str, str] | None = None, **parts: object) -> str:
        """Make a pull request: a commit that no branch leads to, but refs/pull/7/head; returns its hash."""
        self.repo.git("checkout", "--quiet", "--detach")
        sha = self.commit(subject, files, **parts)
        self.repo.git("update-ref", "refs/pull/7/head", sha)
        self.repo.git("checkout", "--quiet", "--force", "main")
        return sha

    def request(self, sha: str, **parts: str) -> CheckRequest:
        """Return what the check of the pull request is asked for."""
        given = {"ref": "refs/pull/7/head", "pull_request": "7", "requested_by": "eve", "estate": str(self.file)}
        return CheckRequest.model_validate({"service": "campus", "commit": sha, **given, **parts})

    def check(self, sha: str, **parts: str) -> "Ended":
        """Run the check to its end in this process."""
        state: Any = check(self.request(sha, **parts), return_state=True)
        found = state.result(raise_on_failure=False)
        return Ended(str(state.state_details.flow_run_id), found if isinstance(found, BaseException) else None)

    def left(self) -> list[str]:
        """Return what is left of all checks in the folder where they work."""
        return [path.name for path in (self.work / "checks").iterdir()]


class Ended:
    """A check that has ended."""

    def __init__(self, run_id: str, error: BaseException | None = None) -> None:
        self.run_id, self.error = run_id, error

    def artifacts(self) -> dict[str, str]:
        """Return its artifacts by key."""
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[self.run_id]))
        with get_client(sync_client=True) as client:
            return {str(each.key): str(each.data) for each in client.read_artifacts(artifact_filter=wanted)}

    def everything(self) -> str:
        """Return everything that the Prefect server has of it: run, logs, artifacts."""
        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[self.run_id]))
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(self.run_id)  # type: ignore[arg-type]
            lines: list[str] = []
            while page := client.read_logs(log_filter=wanted, limit=200, offset=len(lines)):
                lines += [line.message for line in page]
        return "\n".join([run.model_dump_json(), *lines, json.dumps(self.artifacts())])
