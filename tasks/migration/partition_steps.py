"""The @task functions of the upkeep of partitions: thin. A part of `steps`."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from blocks.estate import OpenEstate
from tasks.common.errors import Refused, SlipwayError
from tasks.common.lease_steps import holder
from tasks.common.steps import ONCE, only_shown
from tasks.migration.partition_model import Problem
from tasks.migration.partition_report import outcome_report
from tasks.migration.request import PartitionsRequest
from tasks.migration.require import Wanted
from tasks.migration.upkeep import Outcome, Upkeep


@dataclass(frozen=True)
class Database:
    """A database whose partitions are looked after.

    Args:
        service: whose it is.
        environment: where.
    """

    service: str
    environment: str

    def __str__(self) -> str:
        """Return 'campus in production', as task names show it."""
        return f"{self.service} in {self.environment}"


def databases(estate: OpenEstate, request: PartitionsRequest | None) -> tuple[Database, ...]:
    """Return the databases that are asked for; all that the estate file has partitions of where none is.

    Raises:
        Refused: it has none of the one that is asked for.
    """
    found = tuple(_described(estate))
    if request is None or not (request.service or request.environment):
        return found
    asked = tuple(
        each
        for each in found
        if request.service in ("", each.service) and request.environment in ("", each.environment)
    )
    if not asked:
        where = Database(request.service or "SERVICE", request.environment or "ENVIRONMENT")
        raise Refused(
            f"the estate {estate.file.estate} describes no partitions of {where}",
            on="the request",
            next_action=f"describe them under environments.{where.environment}.databases.{where.service}.partitions of "
            "the estate file",
        )
    return asked


def _described(estate: OpenEstate) -> Iterator[Database]:
    for environment, here in estate.file.environments.items():
        for service, spec in here.databases.items():
            if spec.partitions:
                yield Database(service, environment)


@task(name="keep partitions", task_run_name="look after the partitions of {database}", **ONCE)
def keep_up(estate: OpenEstate, database: Database) -> Outcome:
    """Partitions are there ahead, and the old ones have left; what goes wrong is in the outcome. *Idempotent:* yes."""
    spec, log = estate.migrated(database.service, database.environment), get_run_logger()
    try:
        target = estate.partitions(database.service, database.environment)
        upkeep = Upkeep(
            target,
            spec.partitions,
            Wanted.of(spec),
            str(database),
            spec.wait_s,
            holder(),
            say=log.info,
            wait=time.sleep,
            chance=random.random,
        )
        outcome = upkeep.run()
    except SlipwayError as error:
        outcome = Outcome(str(database), problems=(Problem("all tables", error.what, error.next_action),))
    for line in [*outcome.notes, *(f"{each.table}: {each}" for each in outcome.problems)]:
        log.warning(line)
    with only_shown():
        create_markdown_artifact(
            key=f"partitions-{database.service}-{database.environment}",
            markdown=estate.context.secrets.redact(outcome_report(outcome)),
            description=f"partitions of {database}",
        )
    return outcome


def require_all_well(outcomes: Sequence[Outcome]) -> None:
    """Nothing was left undone.

    Raises:
        Refused: something was; all of it is listed.
    """
    found = [f"{one.on}, {each.table}: {each}" for one in outcomes for each in one.problems]
    if found:
        raise Refused(
            "partitions are not what they are to be",
            on=", ".join(one.on for one in outcomes if one.problems),
            state="what could be done was done; what is listed was not",
            next_action="do what each line says, then run this again",
            facts={"problems": "\n".join(found)},
        )
