"""A look at everything that an estate needs, before anybody needs it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from blocks.estate import OpenEstate, Site
from blocks.runtimes.capacity import disk_free_percent
from tasks.common.errors import Refused, SlipwayError
from tasks.common.steps import ONCE, only_shown
from tasks.preflight.judge import finding_table, told
from tasks.preflight.looks import examine, look, site_looks, workspace_look
from tasks.preflight.model import Finding, Look


@task(name="look over", task_run_name="look over {estate.file.estate}", **ONCE)
def look_over(estate: OpenEstate, further: Callable[[str, Site], Sequence[Look]]) -> None:
    """Every environment is as a release would need it, and its findings are an artifact. *Idempotent:* yes.

    Args:
        estate: that is looked at.
        further: what else there is to look at in each environment.

    Raises:
        Refused: lists everything that is wrong, at once.
    """
    redact = estate.context.secrets.redact
    found = [finding for looked in examine(place_looks(estate, further)) for finding in looked.findings]
    # Before its table is written: what is shaped like a secret is not found any more where it was escaped.
    findings: list[Finding] = [replace(each, found=redact(each.found), mend=redact(each.mend)) for each in found]
    wrong = [each for each in findings if not each.well]
    with only_shown():
        create_markdown_artifact(key="looked-over", markdown=redact(finding_table(findings)))
    if wrong:
        raise Refused(
            f"{len(wrong)} of {len(findings)} things are not well",
            on=f"the estate {estate.file.estate}",
            state="nothing was changed",
            next_action="mend them before the next release; 'slipway doctor' looks at the same",
            facts=told(wrong),
        )
    get_run_logger().info("all %d things are well", len(findings))


def place_looks(estate: OpenEstate, further: Callable[[str, Site], Sequence[Look]]) -> list[Look]:
    """Return what there is to look at in every environment for every service, and in the workspace."""
    looks: list[Look] = []
    for service in estate.file.services:
        for environment in estate.file.environments:
            where = f"{service} in {environment}"
            try:
                site = estate.site(service, environment)
            except SlipwayError as error:
                looks.append(Look(where, partial(_ill, where, error)))
                continue
            looks += site_looks(where, site, estate.network)
            looks += further(where, site)
            secrets = site.environment.secrets
            looks += [look(f"{where}: secret {name}", partial(_resolves, estate, ref)) for name, ref in secrets.items()]
    environments = list(estate.file.environments.values())
    return [*looks, workspace_look(environments, lambda: disk_free_percent(estate.workspace))]


def _ill(where: str, error: SlipwayError) -> list[Finding]:
    return [Finding(where, False, error.what, error.next_action)]


def _resolves(estate: OpenEstate, reference: str) -> str:
    estate.context.secrets.resolve(reference)
    return reference
