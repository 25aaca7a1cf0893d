"""What people are told when the Prefect server finds that a run has died or failed, or that none has come. Pure."""

from dataclasses import dataclass
from datetime import datetime

from tasks.common.occasion import Occasion
from tasks.common.units import show_duration
from tasks.notify.model import About, Message, Topic


@dataclass(frozen=True)
class Run:
    """A run of any flow, as the Prefect server knows it.

    Args:
        id: its id.
        name: as the Prefect UI shows it.
        flow: of which flow.
        said: the message of its state.
        service: that it is about; '' where it is about none, or that is not known.
        environment: that it is about; '' as well.
        schedule: that has started it; '' for none.
        link: its page; '' where there is none.
    """

    id: str
    name: str
    flow: str
    said: str = ""
    service: str = ""
    environment: str = ""
    schedule: str = ""
    link: str = ""


def crashed(estate: str, run: Run, at: datetime) -> Message:
    """Return the message about a run that has died without a word of its own."""
    return Message(
        title=f"{run.flow} '{run.name}' has died",
        text=f"{run.said}\nNext: a reconciliation brings releases to an end within minutes, and tells of it; start any "
        "other flow again when you know why it died",
        occasion=Occasion.CRASHED,
        about=About(Topic.RUN, estate, run.service, run.environment, run.schedule),
        at=at,
        facts={"flow": run.flow, "run": run.id},
        link=run.link,
    )


def failed(estate: str, run: Run, at: datetime) -> Message:
    """Return the message about a run that was started by the clock and has failed."""
    return Message(
        title=f"{run.flow} '{run.name}' has failed",
        text=f"{run.said}\nNext: read the run's log; the schedule {run.schedule} starts it again at its time",
        occasion=Occasion.FAILED,
        about=About(Topic.RUN, estate, run.service, run.environment, run.schedule),
        at=at,
        facts={"flow": run.flow, "run": run.id, "schedule": run.schedule},
        link=run.link,
    )


def unprotected(estate: str, plan: str, what: str, within_s: float, at: datetime) -> Message:
    """Return the message about a plan of which no backup, or no verification, has succeeded in time.

    The next backup that succeeds ends the trouble that a missing one has made; a missing verification is of its own.

    Args:
        estate: the estate's name.
        plan: the plan's.
        what: 'backup' or 'verification'.
        within_s: how long it may be, in seconds.
        at: when that was found.
    """
    topic, flow = (Topic.BACKUP, "backup") if what == "backup" else (Topic.RUN, "verify-backup")
    return Message(
        title=f"no {what} of {plan} has succeeded for {show_duration(within_s)}",
        text=f"Next: 'slipway backups' says what is wrong; 'slipway {flow} {plan}' starts one now; 'slipway doctor' "
        "says whether a worker lives",
        occasion=Occasion.OVERDUE,
        about=About(topic, estate, plan),
        at=at,
        facts={"flow": flow, "plan": plan},
    )


def overdue(about: About, flow: str, within_s: float, at: datetime) -> Message:
    """Return the message about a schedule of which no run has succeeded in time."""
    return Message(
        title=f"{about.schedule} ({flow}) has not succeeded for {show_duration(within_s)}",
        text="Next: see in the Prefect UI whether its runs fail, are late, or do not come; 'slipway doctor' says "
        "whether a worker lives",
        occasion=Occasion.OVERDUE,
        about=about,
        at=at,
        facts={"flow": flow, "schedule": about.schedule},
    )
