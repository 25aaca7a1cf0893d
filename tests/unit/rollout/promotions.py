"""Promotions of every kind, as a service file writes them."""

from pydantic import TypeAdapter

from tasks.common.service import Promotion
from tasks.rollout.model import Limits, Roles, Stage
from tasks.rollout.strategies import limits, proving_stage, stages

CHECK = {"metric": "errors", "at_most": "1%"}
RELATIVE = {"metric": "errors", "at_most_times_stable": 1.1}
ROLES = Roles("green", "v2", "blue", "v1")


def promotion(**settings: object) -> Promotion:
    return TypeAdapter(Promotion).validate_python(settings)


def canary_of(*weights: str) -> Promotion:
    table = [{"weight": w, "soak": "1h", "checks": [CHECK, RELATIVE]} for w in weights]
    return promotion(strategy="canary", stages=table)


def rolling_of(**settings: object) -> Promotion:
    return promotion(strategy="rolling", checks=[CHECK], **settings)


AT_ONCE = promotion(strategy="blue-green", checks=[CHECK])
GRADUAL = promotion(strategy="blue-green", shift="gradual", checks=[CHECK])
CANARY = canary_of("0.1%", "1%", "5%", "25%", "60%", "100%")
EVERY = {
    "blue-green at once": AT_ONCE,
    "blue-green gradual": GRADUAL,
    "canary": CANARY,
    "rolling one by one": rolling_of(),
    "rolling two at a time": rolling_of(batch=2),
    "rolling with surge": rolling_of(max_surge="25%"),
    "rolling with both": rolling_of(max_surge="25%", max_unavailable="34%"),
}
SIZES = range(1, 8)


def the_way(kind: str, replicas: int, floor_percent: float = 100.0) -> tuple[tuple[Stage, ...], Limits]:
    """All stages from the proof without traffic to the end, with the limits on the way."""
    bounds = limits(EVERY[kind], replicas, floor_percent)
    table = stages(EVERY[kind], replicas)
    return (proving_stage(table, replicas, bounds), *table), bounds
