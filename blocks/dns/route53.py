"""Amazon Route 53: changed by its API, and asked as a client asks it, where a server of the zone is named."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from blocks import aws
from blocks.context import Context
from blocks.dns import answers
from blocks.dns.answers import Address
from blocks.fence import held
from tasks.common.errors import Refused
from tasks.common.sites import Answer

# *Source:* Route 53 Developer Guide: changes reach all its servers within 60 s.
_SEEN_WITHIN_S = 60.0
_UNKNOWN = "whether the change was taken is not known; it can be made again"


class Route53Dns:
    """Implements `Dns` with Route 53, one hosted zone of it.

    Args:
        settings: which zone, and how to sign in.
        context: resolves the keys; with a grant, the zone may be changed.
    """

    class Settings(aws.Account):
        """Settings of the driver `route53`."""

        region: str = Field(
            default="us-east-1", min_length=1, description="Route 53 is asked there, wherever users are"
        )
        zone_id: str = Field(min_length=1, description="id of the hosted zone: 'Z0123456789ABC'")
        zone: str = Field(min_length=1, description="zone that the names are in: 'example.org'")
        server: str | None = Field(
            default=None,
            pattern=answers.SERVER,
            description="one of the zone's name servers: asked as a client asks; without it the API's word is taken",
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._context = context
        self._zone = settings.zone.rstrip(".").lower()

    @property
    def where(self) -> str:
        """Return which zone it is: 'example.org, zone Z0123456789ABC of Route 53'."""
        return f"{self._zone}, zone {self._settings.zone_id} of Route 53"

    def observe(self, name: str) -> Answer:
        """Return what the name is answered with.

        Raises:
            Retryable: Route 53 does not answer.
            Refused: the zone is not there, or the name is in another one.
        """
        if self._settings.server is not None:
            return answers.asked(answers.place(self._settings.server), name, self.where)
        if not answers.in_zone(name, self._zone):
            raise Refused(f"it is not the server of {name}", on=self.where, next_action="name the zone that has it")
        found = [each for each in self._sets(name) if each.get("ResourceRecords")]
        addresses = sorted({record["Value"] for each in found for record in each["ResourceRecords"]})
        return Answer(name, tuple(addresses), min((int(each["TTL"]) for each in found), default=0))

    def point(self, name: str, addresses: Sequence[str], ttl_s: int) -> None:
        """The name is answered with these addresses and no others. *Idempotent:* yes.

        Raises:
            Refused: no such zone, no right to change it, or an address is none; nothing was changed.
            Retryable: Route 53 does not answer, or did not take the change in time.
        """
        wanted = answers.checked(name, self._zone, addresses, ttl_s, self.where)
        changes = [self._upsert(name, kind, wanted, ttl_s) for kind in ("A", "AAAA")]
        kept = {change["ResourceRecordSet"]["Type"] for change in changes if change}
        gone = [
            {"Action": "DELETE", "ResourceRecordSet": each} for each in self._sets(name) if each["Type"] not in kept
        ]
        held(self._context.grant, self.where)
        with self._errors(name):
            self._client().change_resource_record_sets(
                HostedZoneId=self._settings.zone_id,
                ChangeBatch={"Changes": [*(change for change in changes if change), *gone]},
            )
        expected = Answer(name, tuple(sorted(map(str, wanted))), ttl_s)
        answers.await_answer(
            lambda: self.observe(name),
            expected,
            self.where,
            "Route 53's servers are late: look again, then do the same",
            within_s=_SEEN_WITHIN_S,
        )

    def _upsert(self, name: str, kind: str, addresses: Sequence[Address], ttl_s: int) -> dict[str, Any] | None:
        version = 4 if kind == "A" else 6
        values = [{"Value": str(address)} for address in addresses if address.version == version]
        record_set = {"Name": f"{name}.", "Type": kind, "TTL": ttl_s, "ResourceRecords": values}
        return {"Action": "UPSERT", "ResourceRecordSet": record_set} if values else None

    def _sets(self, name: str) -> list[dict[str, Any]]:
        """Return what the zone has of a name's addresses."""
        with self._errors(name):
            found = self._client().list_resource_record_sets(
                HostedZoneId=self._settings.zone_id, StartRecordName=f"{name}.", StartRecordType="A", MaxItems="10"
            )["ResourceRecordSets"]
        return [each for each in found if each["Name"] == f"{name}." and each["Type"] in ("A", "AAAA")]

    def _client(self) -> Any:
        return aws.client("route53", self._settings, self._context)

    def _errors(self, name: str) -> Any:
        return aws.errors("Route 53", f"{name} in {self.where}", self._context, _UNKNOWN)
