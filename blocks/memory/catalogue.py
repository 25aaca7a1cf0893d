"""The catalogue of backups in memory."""

from dataclasses import replace
from datetime import datetime
from threading import Lock

from blocks.catalogue_data import (
    found,
    is_gone,
    kept_challenge,
    kept_entry,
    kept_source,
    kept_verification,
    no_such_backup,
    same_backup,
)
from blocks.ledger_data import kept_text, kept_time
from tasks.common.backups import Entry, Verification
from tasks.common.challenges import Challenge
from tasks.common.source_facts import SourceFacts


class MemoryCatalogue:
    """Implements `Catalogue`; each object is a catalogue of its own. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._entries: dict[str, Entry] = {}
        self._verifications: dict[str, dict[str, Verification]] = {}
        self._sources: dict[str, SourceFacts] = {}
        self._challenges: dict[str, Challenge] = {}

    def add(self, entry: Entry) -> None:
        """The entry is kept. *Idempotent:* yes, by its id; the first one stands.

        Raises:
            Refused: another backup has this id, or it cannot be a new one.
        """
        kept = kept_entry(entry)
        with self._lock:
            same_backup(self._entries.setdefault(kept.id, kept), kept)

    def entry(self, entry_id: str) -> Entry:
        """Return one entry.

        Raises:
            Refused: there is none of this id; those that come near are named.
        """
        with self._lock:
            return self._derived(self._known(entry_id))

    def entries(self, plan: str | None = None, *, expired: bool = False) -> tuple[Entry, ...]:
        """Return the entries of a plan, or of all, newest first; those that were removed only where asked for."""
        with self._lock:
            wanted = [each for each in self._entries.values() if plan in (None, each.plan)]
            there = [self._derived(each) for each in wanted if expired or each.expired_at is None]
        # Sorted, then reversed: of two that ended at the same time the one that was added later comes first.
        return tuple(sorted(there, key=lambda each: each.stored.ended_at)[::-1])

    def hold(self, entry_id: str, reason: str, by: str, at: datetime) -> None:
        """It is not expired until it is let go ('' for the reason). *Idempotent:* yes.

        Raises:
            Refused: no such entry, or it was expired.
        """
        del by
        kept_time(at, "at")
        with self._lock:
            entry = self._known(entry_id)
            if entry.expired_at is not None:
                raise is_gone(entry)
            self._entries[entry.id] = replace(entry, held=kept_text(reason))

    def expired(self, entry_id: str, why: str, run_id: str, at: datetime) -> None:
        """It is on record that it was removed, or is about to be. *Idempotent:* yes; the first time stands.

        Raises:
            Refused: no such entry.
        """
        del run_id
        expired_at, expired_why = kept_time(at, "at"), kept_text(why)
        with self._lock:
            entry = self._known(entry_id)
            if entry.expired_at is None:
                self._entries[entry.id] = replace(entry, expired_at=expired_at, expired_why=expired_why)

    def observed(self, entry_id: str, source: SourceFacts) -> None:
        """What its source was when it was taken is kept. *Idempotent:* yes; the first one stands.

        Raises:
            Refused: no such entry, or a naive time.
        """
        kept = kept_source(source)
        with self._lock:
            self._sources.setdefault(self._known(entry_id).id, kept)

    def source_of(self, entry_id: str) -> SourceFacts | None:
        """Return what the source of a backup was when it was taken; None where that is not on record.

        Raises:
            Refused: no such entry.
        """
        with self._lock:
            return self._sources.get(self._known(entry_id).id)

    def note(self, verification: Verification) -> None:
        """The verification is kept. *Idempotent:* yes, by its entry and run; the first one stands.

        Raises:
            Refused: no such entry, or facts that are no JSON data.
        """
        kept = kept_verification(verification)
        with self._lock:
            self._known(kept.entry_id)
            self._verifications.setdefault(kept.entry_id, {}).setdefault(kept.run_id, kept)

    def verifications(self, plan: str, limit: int) -> tuple[Verification, ...]:
        """Return the latest verifications of a plan's backups, newest first."""
        with self._lock:
            of_plan = [
                each
                for id_, of_entry in self._verifications.items()
                if self._entries[id_].plan == plan
                for each in of_entry.values()
            ]
        return tuple(sorted(of_plan, key=lambda each: each.ended_at)[::-1][:limit])

    def challenged(self, challenge: Challenge) -> None:
        """The challenge is kept. *Idempotent:* yes, by its run; the first one stands.

        Raises:
            Refused: no such backup.
        """
        kept = kept_challenge(challenge)
        with self._lock:
            self._known(kept.backup_id)
            self._challenges.setdefault(kept.run_id, kept)

    def challenges(self, plan: str, limit: int) -> tuple[Challenge, ...]:
        """Return the latest challenges of a plan's verification, newest first."""
        with self._lock:
            of_plan = [each for each in self._challenges.values() if each.plan == plan]
        return tuple(sorted(of_plan, key=lambda each: each.ended_at)[::-1][:limit])

    def _known(self, entry_id: str) -> Entry:
        wanted = kept_text(entry_id)
        if wanted not in self._entries:
            raise no_such_backup(wanted, self._entries)
        return self._entries[wanted]

    def _derived(self, entry: Entry) -> Entry:
        """Return the entry with what its verifications say, in the order in which they ended."""
        verified_at = unsound_at = None
        of_entry = self._verifications.get(entry.id, {}).values()
        for each in sorted(of_entry, key=lambda each: each.ended_at):
            if found(each) == "sound":
                verified_at, unsound_at = each.ended_at, None
            elif found(each) == "unsound":
                unsound_at = each.ended_at
        return replace(entry, verified_at=verified_at, unsound_at=unsound_at)
