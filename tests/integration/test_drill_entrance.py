"""A node behind an entrance, asked by a drill: whether it takes writes of users is for the entrance to say."""

import socket
import time
from collections.abc import Iterator

import pytest

from blocks.drills.nodes import ask_node
from blocks.drills.session import Session
from tasks.drill.model import NodeState
from tests.support.processes import free_port

pytestmark = pytest.mark.server


@pytest.fixture
def node(database_url: str) -> Iterator[Session]:
    session = Session(database_url)
    yield session
    session.close()


def ask(node: Session, entrance: str) -> NodeState:
    door = Session(entrance)
    try:
        return ask_node("a1", node, time.monotonic() + 3, door).state
    finally:
        door.close()


def test_entrance_that_lets_users_in_and_none_at_all(node: Session, database_url: str) -> None:
    assert ask(node, database_url) is NodeState.WRITABLE
    assert ask_node("a1", node, time.monotonic() + 3).state is NodeState.WRITABLE


def test_entrance_that_turns_users_away(node: Session) -> None:
    assert ask(node, f"host=127.0.0.1 port={free_port()}") is NodeState.SHUT


def test_entrance_that_does_not_answer_may_let_others_in(node: Session) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert ask(node, f"host=127.0.0.1 port={silent.getsockname()[1]}") is NodeState.WRITABLE
