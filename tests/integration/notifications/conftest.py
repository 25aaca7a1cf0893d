"""A run's journal without a Prefect server, a chat, and mail servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.context import Context
from blocks.journal import Journal
from blocks.memory.ledger import MemoryLedger
from tests.support.ledger import record
from tests.support.notifying import Chat, Mailbox, running_chat, running_mailbox, write_certificate
from tests.support.processes import free_port


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(base=tmp_path)


@pytest.fixture
def ledger(context: Context) -> MemoryLedger:
    ledger = MemoryLedger(MemoryLedger.Settings(), context)
    ledger.begin(record())
    return ledger


@pytest.fixture
def journal(context: Context, ledger: MemoryLedger) -> Iterator[Journal]:
    """A journal, where the Prefect server does not answer."""
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        yield Journal(ledger, "run-1", context.secrets.redact)


@pytest.fixture
def chat() -> Iterator[Chat]:
    with running_chat() as running:
        yield running


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with running_mailbox() as running:
        yield running


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return write_certificate(tmp_path / "server.pem")


@pytest.fixture
def safe_mailbox(certificate: Path) -> Iterator[Mailbox]:
    with running_mailbox(certificate) as running:
        yield running
