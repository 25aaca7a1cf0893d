"""The @task functions of preflight: thin, and the only module here that imports Prefect."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from blocks.estate import Site
from blocks.job import Job, kept_release
from blocks.runtimes.capacity import disk_free_percent
from tasks.common.errors import Refused
from tasks.common.steps import ONCE, only_shown
from tasks.preflight.judge import finding_table, told
from tasks.preflight.looks import examine, look, site_looks, workspace_look
from tasks.preflight.model import Finding, Look

Further = Callable[[str, Site], Sequence[Look]]
"""Gives more to look at in an environment, such as its own checks; the text is the first word of their names."""


def _nothing_more(where: str, site: Site) -> Sequence[Look]:
    del where, site
    return ()


@task(name="preflight", task_run_name="preflight", **ONCE)
def preflight(job: Job, further: Further = _nothing_more) -> None:
    """Everything that the release will need is well, and nothing was changed. *Idempotent:* yes.

    Args:
        job: the run.
        further: what else there is to look at in each environment on the way.

    Raises:
        Refused: lists everything that is wrong, at once (REL-3).
    """
    findings: list[Finding] = []
    for looked in examine(_looks(job, further)):
        for each in looked.findings:
            mend = {} if each.well else {"mend": each.mend}
            job.journal.note(
                "preflight", each.name, duration_s=looked.duration_s, ok=each.well, found=each.found, **mend
            )
            # Before its table is written: what is shaped like a secret is not found any more where it was escaped.
            findings.append(replace(each, found=job.redact(each.found), mend=job.redact(each.mend)))
    wrong = [each for each in findings if not each.well]
    if wrong:
        with only_shown():
            create_markdown_artifact(key="preflight", markdown=job.redact(finding_table(findings)))
        raise Refused(
            f"preflight found {len(wrong)} problems",
            on=f"{job.service.service} to {job.environment}",
            next_action="mend all of them, then run this again; 'slipway doctor' looks at most of the same",
            facts=told(wrong),
        )
    get_run_logger().info("preflight: all %d checks are well", len(findings))


def _looks(job: Job, further: Further) -> list[Look]:
    environments = [job.site(name).environment for name in job.path]
    looks = [
        look("artefact store answers", job.estate.store.digests),
        workspace_look(environments, lambda: disk_free_percent(job.estate.workspace)),
        look("secrets of the tests are there", partial(_test_secrets, job)),
    ]
    for environment in job.path:
        site = job.site(environment)
        looks += site_looks(str(site), site, job.estate.network)
        looks.append(look(f"{site}: secrets are there", partial(_run_secrets, job, site)))
        looks.append(look(f"{site}: a release to roll back to is kept", partial(_way_back, job, site)))
        looks += further(str(site), site)
    return looks


def _test_secrets(job: Job) -> str:
    name = job.service.service
    return _resolved(
        job, job.service.test.secrets, job.estate.service(name).test_secrets, f"services.{name}.test_secrets"
    )


def _run_secrets(job: Job, site: Site) -> str:
    return _resolved(job, job.service.run.secrets, site.environment.secrets, f"environments.{site}.secrets")


def _resolved(job: Job, wanted: Sequence[str], supplied: Mapping[str, str], key: str) -> str:
    """Return the names of the secrets, each of which the estate supplies, and whose places answer."""
    missing = sorted(set(wanted) - set(supplied))
    if missing:
        raise Refused(
            f"the estate supplies no {', '.join(missing)}",
            on=job.service.service,
            next_action=f"add them under {key} of the estate file",
        )
    for name in wanted:
        job.estate.context.secrets.resolve(supplied[name])
    return ", ".join(wanted) or "none is asked for"


def _way_back(job: Job, site: Site) -> str:
    """Return the release that a roll-back would bring back, whose artefact is in the store."""
    previous = job.previous(str(site))
    if previous is None:
        return "nothing was released here before"
    _, record = kept_release(job.estate, job.service.service, previous)
    if not job.estate.store.exists(str(record.digest)):
        raise Refused(
            f"the artefact of {previous[:7]} is not in the store any more",
            on=str(site.target),
            next_action="find out who removed it; release that commit again to have a way back",
        )
    return previous[:7]
