"""The occasions on which people are told something."""

from enum import StrEnum


class Occasion(StrEnum):
    """Why a message is sent. The first four are how a release or rollback ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"
    UNSAFE = "unsafe"
    APPROVAL_WANTED = "approval-wanted"
    RECONCILED = "reconciled"
    DRIFT = "drift"
