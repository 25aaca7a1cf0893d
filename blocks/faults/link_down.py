"""The fault `link-down`: a cable is pulled."""

from typing import Any

from pydantic import Field

from blocks.context import Context
from blocks.faults.networks import Namespace
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.drill.model import Undone
from tasks.drill.ports import Aim


class LinkDown:
    """Implements `Fault`: a link of a network namespace is down, with the routes that went over it.

    Args:
        settings: which one.
        context: redacts.
    """

    class Settings(StrictModel):
        """Settings of the driver `link-down`."""

        namespace: str = Field(min_length=1, description="network namespace, as 'ip netns' lists it")
        link: str = Field(min_length=1, description="its link, as 'ip link' lists it there")

    def __init__(self, settings: Settings, context: Context) -> None:
        self._link, self._on = settings.link, f"{settings.link} in namespace {settings.namespace}"
        self._namespace = Namespace(settings.namespace, context)

    @property
    def reversible(self) -> bool:
        """Return that it is."""
        return True

    def aim(self) -> Aim:
        """Return the routes that the kernel forgets with the link.

        Raises:
            Refused: there is no such link, or it is down.
        """
        self._namespace.require()
        if not self._is_up():
            raise Refused("there is no such link, or it is down", on=self._on, next_action="check the setting")
        routes = [
            {"family": family, **each}
            for family in ("-4", "-6")
            for each in self._namespace.ip_data(family, "route", "show", "dev", self._link)
            if each.get("protocol") != "kernel"
        ]
        return {"routes": [{key: each[key] for key in _KEPT if key in each} for each in routes]}

    def inject(self, aim: Aim) -> None:
        """The link is down. *Idempotent:* yes."""
        del aim
        self._namespace.ip("link", "set", self._link, "down")

    def injected(self, aim: Aim) -> bool:
        """Return whether the link is down."""
        del aim
        return self._namespace.exists and not self._is_up()

    def undo(self, aim: Aim) -> Undone:
        """The link is up, and the routes over it are there again. *Idempotent:* yes.

        Raises:
            Refused: the system does not do it.
        """
        if not self._namespace.exists:
            return Undone("its namespace is gone")
        was_up = self._is_up()
        self._namespace.ip("link", "set", self._link, "up")
        for route in aim["routes"]:
            self._namespace.ip(*_route(route), "dev", self._link)
        return Undone("it was up" if was_up else "it is up again, with its routes")

    def _is_up(self) -> bool:
        found = self._namespace.ip_data("link", "show", "dev", self._link)
        return bool(found) and "UP" in found[0].get("flags", ())


_KEPT = ("family", "dst", "gateway", "prefsrc", "metric")


def _route(route: dict[str, Any]) -> list[str]:
    words = [route["family"], "route", "replace", str(route["dst"])]
    for key, word in (("gateway", "via"), ("prefsrc", "src"), ("metric", "metric")):
        words += [word, str(route[key])] if key in route else []
    return words
