"""Patroni's REST API, and patronictl where none of its nodes answers."""

import asyncio
import json
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import yaml

from blocks import shell
from blocks.clusters.postgresql_node import ANSWER_WITHIN_S
from tasks.common.errors import Refused, Retryable

# patronictl needs a second to start, so it is asked only where the nodes are late; both together end within 5 s.
_CTL_AFTER_S = 1.5
_CTL_SHOWS_WITHIN_S = 3.4
_CTL_CHANGES_WITHIN_S = 15.0


@dataclass(frozen=True)
class Reported:
    """What a node's Patroni says.

    Args:
        state: 'running', 'starting', 'stopped' ...
        role: 'primary', 'standby_leader' or 'replica'.
        synchronous: whether a commit waits for it.
        paused: whether the cluster is in maintenance.
        unlocked: whether it knows of no leader.
        store_age_s: how long ago it has last reached what keeps the configuration.
        system_id: PostgreSQL's system identifier; '' where it has none yet.
    """

    state: str
    role: str
    synchronous: bool
    paused: bool
    unlocked: bool
    store_age_s: float
    system_id: str

    @property
    def leads(self) -> bool:
        """Return whether it says that it leads."""
        return self.role in ("primary", "master", "standby_leader")


class PatroniApi:
    """The REST API of a cluster's nodes.

    Args:
        cluster: Patroni's scope.
        urls: by node.
        login: user and password; None where the API asks for none.
        ctl: patronictl with its configuration, used where no node answers; empty: there is none.
        path: folders in front of PATH.
    """

    def __init__(
        self,
        cluster: str,
        urls: Mapping[str, str],
        login: tuple[str, str] | None,
        ctl: Sequence[str],
        path: tuple[str, ...],
    ) -> None:
        self._cluster = cluster
        self._urls = urls
        self._login = login
        self._ctl = ctl
        self._path = path
        # Made once: reading the system's certificates takes longer than asking a node.
        self._tls = _certificates()

    async def report(self, node: str) -> Reported | None:
        """Return what a node's Patroni says; None where it does not, or not in time."""
        answer = await self._get(f"{self._urls[node]}/patroni")
        if answer is None:
            return None
        try:
            said: dict[str, Any] = answer.json()
            return Reported(
                state=str(said.get("state", "")),
                role=str(said.get("role", "")),
                synchronous=bool(said.get("sync_standby") or said.get("quorum_standby")),
                paused=bool(said.get("pause")),
                unlocked=bool(said.get("cluster_unlocked")),
                store_age_s=_age_s(answer, float(said.get("dcs_last_seen") or 0)),
                system_id=str(said.get("database_system_identifier") or ""),
            )
        except (ValueError, TypeError, AttributeError):
            return None

    async def config(self) -> dict[str, Any] | None:
        """Return the cluster's configuration as a node, or patronictl, reads it; None where nothing can."""
        asked = [asyncio.create_task(self._config_of(url)) for url in self._urls.values()]
        asked.append(asyncio.create_task(self._shown()))
        try:
            for answer in asyncio.as_completed(asked):
                found = await answer
                if found is not None:
                    return found
        finally:
            for task in asked:
                task.cancel()
        return None

    def patch(self, changes: Mapping[str, object], state: str) -> None:
        """The cluster's configuration has the changes; None takes a key away. *Idempotent:* yes.

        Raises:
            Refused: it does not take them.
            Retryable: nothing that could take them answers.
        """
        said = {}
        for name, url in self._urls.items():
            try:
                answer = httpx.patch(
                    f"{url}/config",
                    json=changes,
                    auth=self._login,
                    timeout=ANSWER_WITHIN_S,
                    trust_env=False,
                    verify=self._tls,
                )
            except httpx.HTTPError as error:
                said[name] = type(error).__name__
                continue
            if answer.is_success:
                return
            if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
                raise self._not_allowed()
            said[name] = f"status {answer.status_code}"
        if not self._edited(changes):
            raise Retryable(
                "nothing takes a change of the cluster's configuration",
                on=self._cluster,
                state=state,
                next_action="look whether Patroni runs on a node, and whether it reaches its etcd",
                facts=said,
            )

    def ask_for(self, what: str, node: str, body: Mapping[str, str]) -> str:
        """A node was asked to bring something about ('switchover'); returns why it does not, '' where it may have.

        Whether it comes about is seen by observing: Patroni answers when it is over, which may be long from now.
        """
        try:
            answer = httpx.post(
                f"{self._urls[node]}/{what}",
                json=body,
                auth=self._login,
                timeout=ANSWER_WITHIN_S,
                trust_env=False,
                verify=self._tls,
            )
        except httpx.HTTPError:
            return ""
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise self._not_allowed()
        return "" if answer.is_success else answer.text.strip() or f"status {answer.status_code}"

    async def _get(self, url: str) -> httpx.Response | None:
        try:
            async with (
                asyncio.timeout(ANSWER_WITHIN_S),
                httpx.AsyncClient(timeout=ANSWER_WITHIN_S, trust_env=False, verify=self._tls) as client,
            ):
                return await client.get(url)
        except (httpx.HTTPError, TimeoutError):
            return None

    async def _config_of(self, url: str) -> dict[str, Any] | None:
        answer = await self._get(f"{url}/config")
        try:
            return dict(answer.json()) if answer is not None and answer.is_success else None
        except ValueError:
            return None

    async def _shown(self) -> dict[str, Any] | None:
        await asyncio.sleep(_CTL_AFTER_S)
        if not self._ctl:
            return None
        done = await asyncio.to_thread(self._run, "show-config", within_s=_CTL_SHOWS_WITHIN_S)
        try:
            found = yaml.safe_load(done.stdout) if done is not None and done.exit_code == 0 else None
        except yaml.YAMLError:
            return None
        return dict(found) if isinstance(found, dict) and "ttl" in found else None

    def _edited(self, changes: Mapping[str, object]) -> bool:
        if not self._ctl:
            return False
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(json.dumps(changes))
            file.flush()
            done = self._run("edit-config", "--force", "--quiet", "--apply", file.name, within_s=_CTL_CHANGES_WITHIN_S)
        return done is not None and done.exit_code == 0

    def _run(self, command: str, *options: str, within_s: float) -> shell.Completed | None:
        try:
            return shell.run(
                [*self._ctl, command, *options, self._cluster],
                cwd=Path("/"),
                timeout_s=within_s,
                redact=str,
                path=self._path,
                capture_stdout=True,
            )
        except shell.TimedOut:
            return None

    def _not_allowed(self) -> Refused:
        return Refused(
            "Patroni does not let us change anything",
            on=self._cluster,
            next_action="check 'user' and 'password' in the estate file against restapi.authentication",
        )


@cache
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()


def _age_s(answer: httpx.Response, seen: float) -> float:
    """Return how long ago that was by the node's own clock, which may differ from ours."""
    try:
        now = parsedate_to_datetime(answer.headers["Date"])
    except (KeyError, ValueError):
        now = datetime.now(UTC)
    return max(0.0, now.timestamp() - seen)
