"""PowerDNS: changed by its API, and asked as a client asks it."""

from collections.abc import Sequence
from typing import Any

import httpx
from pydantic import Field

from blocks.context import Context
from blocks.dns import answers
from blocks.dns.answers import Address
from blocks.fence import held
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.sites import Answer

_WITHIN_S = 2.0
_MAY_PASS = 500


class PowerDns:
    """Implements `Dns` with PowerDNS, one zone of it.

    Args:
        settings: which server, and which zone.
        context: resolves the key; with a grant, the zone may be changed.
    """

    class Settings(StrictModel):
        """Settings of the driver `powerdns`."""

        api: str = Field(pattern=r"^https?://", description="where its API answers: 'http://10.2.0.4:8081'")
        api_key: SecretRef = Field(description="reference to the API's key")
        zone: str = Field(min_length=1, description="zone that the names are in: 'example.org'")
        server: str = Field(pattern=r"^\S+:\d{1,5}$", description="where clients ask it: '10.2.0.4:53'")

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._context = context
        self._server = answers.place(settings.server)
        self._zone = settings.zone.rstrip(".").lower()

    @property
    def where(self) -> str:
        """Return which zone it is, and where: 'example.org on 10.2.0.4:53'."""
        return f"{self._zone} on {self._settings.server}"

    def observe(self, name: str) -> Answer:
        """Return what the server answers to a client that asks it for the name.

        Raises:
            Retryable: it does not answer.
            Refused: it is not the server of that name.
        """
        return answers.asked(self._server, name, self.where)

    def point(self, name: str, addresses: Sequence[str], ttl_s: int) -> None:
        """The server answers the name with these addresses and no others: read back by a query. *Idempotent:* yes.

        Raises:
            Refused: no such zone, no right to change it, or an address is none; nothing was changed.
            Retryable: it does not answer, or did not take the change in time.
        """
        wanted = answers.checked(name, self._zone, addresses, ttl_s, self.where)
        held(self._context.grant, self.where)
        self._change({"rrsets": [self._set(name, kind, wanted, ttl_s) for kind in ("A", "AAAA")]})
        expected = Answer(name, tuple(sorted(map(str, wanted))), ttl_s)
        answers.await_answer(
            lambda: self.observe(name),
            expected,
            self.where,
            "wait for the server's own cache (query-cache-ttl), or for its backend's replication",
        )

    def _set(self, name: str, kind: str, addresses: Sequence[Address], ttl_s: int) -> dict[str, Any]:
        version = 4 if kind == "A" else 6
        contents = sorted(str(address) for address in addresses if address.version == version)
        of_name: dict[str, Any] = {"name": f"{name}.", "type": kind}
        if not contents:
            return {**of_name, "changetype": "DELETE"}
        records = [{"content": content, "disabled": False} for content in contents]
        return {**of_name, "changetype": "REPLACE", "ttl": ttl_s, "records": records}

    def _change(self, body: dict[str, Any]) -> None:
        url = f"{self._settings.api.rstrip('/')}/api/v1/servers/localhost/zones/{self._zone}."
        key = self._context.secrets.resolve(self._settings.api_key)
        try:
            answer = httpx.patch(url, json=body, headers={"X-API-Key": key}, timeout=_WITHIN_S, trust_env=False)
        except httpx.HTTPError as error:
            raise Retryable(
                f"the API of PowerDNS does not answer: {type(error).__name__}",
                on=self._settings.api,
                state="whether the change was taken is not known; it can be made again",
                next_action="look whether PowerDNS runs; if it must be now, set the record by hand (pdnsutil)",
            ) from None
        if not answer.is_success:
            raise self._refusal(answer)

    def _refusal(self, answer: httpx.Response) -> SlipwayError:
        kind: type[SlipwayError] = Retryable if answer.status_code >= _MAY_PASS else Refused
        next_actions = {
            401: "check 'api_key' in the estate file",
            404: f"make the zone {self._zone} on that server, or correct 'zone' in the estate file",
        }
        return kind(
            f"the API of PowerDNS refuses: status {answer.status_code}",
            on=self.where,
            next_action=next_actions.get(answer.status_code, "see what it says"),
            facts={"PowerDNS": self._context.secrets.redact(answer.text[:500])},
        )
