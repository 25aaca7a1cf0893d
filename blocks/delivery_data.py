"""What becomes of a delivery, for every store of them."""

from dataclasses import replace

from tasks.common.delivery import Delivery, Status


def as_kept(delivery: Delivery) -> Delivery:
    """Return a delivery as it comes back: without what was only needed to decide."""
    return replace(delivery, event=replace(delivery.event, paths=None, pull=None, workflow="", unwanted=""))


def repeated(delivery: Delivery, first: Delivery) -> Delivery:
    """Return a delivery that asks for what another one has asked for before."""
    return replace(delivery, start=None, status=Status.REPEATED, why=f"delivery {first.id} has asked for the same")


def settled(delivery: Delivery, run_id: str, refused: str) -> Delivery:
    """Return a delivery whose run was started, or refused."""
    if refused:
        return replace(delivery, status=Status.REFUSED, why=refused)
    return replace(delivery, status=Status.STARTED, why=run_id)
