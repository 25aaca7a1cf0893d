"""The occasions on which people are told something, and how much each of them matters. Pure."""

from enum import StrEnum


class Severity(StrEnum):
    """How soon somebody has to look, least first."""

    INFO = "info"
    """Nothing is wrong."""
    WARNING = "warning"
    """Something is wrong, and users are served: look in working hours."""
    CRITICAL = "critical"
    """Nobody can say that users, or what they would be given back after a loss, are safe: look now."""

    def reaches(self, least: "Severity") -> bool:
        """Return whether it is that severe, or more."""
        order = list(Severity)
        return order.index(self) >= order.index(least)


class Occasion(StrEnum):
    """Why a message is sent. The first four are how a release or rollback ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"
    UNSAFE = "unsafe"
    APPROVAL_WANTED = "approval-wanted"
    RECONCILED = "reconciled"
    DRIFT = "drift"
    CRASHED = "crashed"
    """A run has died, or is not heard of."""
    OVERDUE = "overdue"
    """Something that should have succeeded within a set time has not."""


_SEVERITIES = {
    Occasion.SUCCEEDED: Severity.INFO,
    Occasion.FAILED: Severity.WARNING,
    Occasion.ROLLED_BACK: Severity.WARNING,
    Occasion.UNSAFE: Severity.CRITICAL,
    # It is a question: nothing is wrong, and whoever does not answer stops a release.
    Occasion.APPROVAL_WANTED: Severity.INFO,
    Occasion.RECONCILED: Severity.WARNING,
    # As with UNSAFE, what serves is not what anybody has proven.
    Occasion.DRIFT: Severity.CRITICAL,
    # A reconciliation comes within minutes, and tells of it as UNSAFE where it cannot bring the run to its end.
    Occasion.CRASHED: Severity.WARNING,
    # Nobody else tells of what does not happen.
    Occasion.OVERDUE: Severity.CRITICAL,
}


def severity_of(occasion: Occasion) -> Severity:
    """Return how much an occasion matters."""
    return _SEVERITIES[occasion]
