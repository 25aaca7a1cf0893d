"""Something happens right before, or amid, the nth statement that this process sends to PostgreSQL."""

import random
import threading
from collections.abc import Callable
from typing import Any

import psycopg


def at_statement(number: int, act: Callable[[psycopg.Connection], None], amid: bool = False) -> Callable[[], None]:
    """From now on something happens before, or amid, the nth statement of this process; returns what ends that."""
    whole, left = psycopg.Connection.execute, [number]

    def execute(self: psycopg.Connection, *args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            if amid:
                threading.Timer(random.random() * 0.004, act, [self]).start()
            else:
                act(self)
        return whole(self, *args, **options)

    psycopg.Connection.execute = execute  # type: ignore[assignment,method-assign]

    def end() -> None:
        psycopg.Connection.execute = whole  # type: ignore[method-assign]

    return end


def statements_of(act: Callable[[], object]) -> int:
    """Return how many statements something takes."""
    count = [0]
    end = at_statement(-1, lambda connection: None)
    counting = psycopg.Connection.execute

    def execute(self: psycopg.Connection, *args: Any, **options: Any) -> Any:
        count[0] += 1
        return counting(self, *args, **options)

    psycopg.Connection.execute = execute  # type: ignore[assignment,method-assign]
    try:
        act()
    finally:
        end()
    return count[0]
