"""Whatever old and new clients write, and in whatever order: each sees the other's writes in its own shape."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.common.migrations import Phase
from tests.support.postgresql import Cluster
from tests.support.two_versions import Place, Scenario, Sides, prepared

pytestmark = [pytest.mark.server, pytest.mark.long]

BEFORE = """
CREATE TABLE t (id int PRIMARY KEY, rating text, name text, role text, note text);
INSERT INTO t VALUES (1, '1', 'A B', 'r', NULL), (2, NULL, NULL, NULL, 'n'), (3, '3', 'C D', NULL, 'm')
"""
OPERATIONS = """
- {operation: change type, table: t, column: rating, type: integer}
- operation: split column
  table: t
  column: name
  into:
    first: {type: text, up: "split_part(name, ' ', 1)"}
    last: {type: text, up: "split_part(name, ' ', 2)"}
  down: first || ' ' || last
- {operation: string to array, table: t, column: role, to: roles}
- {operation: set not null, table: t, column: note, up: "coalesce(note, 'none of ' || id)"}
- {operation: rename column, table: t, column: note, to: remark}
"""
IDS = st.sampled_from([1, 2, 3, 4])
WORDS = st.sampled_from(["X", "Y", "Z"])


@dataclass(frozen=True)
class Row:
    """What one row is for either side."""

    rating: str | None
    name: str | None
    role: str | None
    note: str | None
    new_rating: int | None
    first: str | None
    last: str | None
    roles: list[str] | None
    remark: str


def by_old(id_: int, rating: int | None, name: tuple[str, str] | None, role: str | None, note: str | None) -> Row:
    """Return what a row is that an old client has written."""
    first, last = name if name is not None else (None, None)
    return Row(
        None if rating is None else str(rating),
        None if name is None else " ".join(name),
        role,
        note,
        rating,
        first,
        last,
        None if role is None else [role],
        f"none of {id_}" if note is None else note,
    )


@dataclass(frozen=True)
class OldInsert:
    id: int
    rating: int | None
    name: tuple[str, str] | None
    role: str | None
    note: str | None

    def apply(self, sides: Sides, model: dict[int, Row]) -> None:
        name = None if self.name is None else " ".join(self.name)
        rating = None if self.rating is None else str(self.rating)
        values = [self.id, rating, name, self.role, self.note]
        done = sides.old.execute("INSERT INTO t VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING", values)
        if done.rowcount:
            model[self.id] = by_old(self.id, self.rating, self.name, self.role, self.note)


@dataclass(frozen=True)
class NewInsert:
    id: int
    rating: int | None
    first: str
    last: str
    roles: list[str]
    remark: str

    def apply(self, sides: Sides, model: dict[int, Row]) -> None:
        values = [self.id, self.rating, self.first, self.last, self.roles, self.remark]
        text = "INSERT INTO t (id, rating, first, last, roles, remark) VALUES (%s, %s, %s, %s, %s, %s)"
        done = sides.new.execute(text + " ON CONFLICT DO NOTHING", values)
        if done.rowcount:
            model[self.id] = Row(
                None if self.rating is None else str(self.rating),
                f"{self.first} {self.last}",
                self.roles[0] if self.roles else None,
                self.remark,
                self.rating,
                self.first,
                self.last,
                self.roles,
                self.remark,
            )


@dataclass(frozen=True)
class OldRole:
    id: int
    role: str | None

    def apply(self, sides: Sides, model: dict[int, Row]) -> None:
        sides.old.execute("UPDATE t SET role = %s WHERE id = %s", [self.role, self.id])
        row = model.get(self.id)
        if row is not None and row.role != self.role:
            model[self.id] = replace(row, role=self.role, roles=None if self.role is None else [self.role])


@dataclass(frozen=True)
class NewRoles:
    id: int
    roles: list[str]

    def apply(self, sides: Sides, model: dict[int, Row]) -> None:
        sides.new.execute("UPDATE t SET roles = %s WHERE id = %s", [self.roles, self.id])
        row = model.get(self.id)
        if row is not None:
            role = row.role if row.roles == self.roles else (self.roles[0] if self.roles else None)
            model[self.id] = replace(row, roles=self.roles, role=role)


@dataclass(frozen=True)
class OldNote:
    id: int
    note: str | None

    def apply(self, sides: Sides, model: dict[int, Row]) -> None:
        sides.old.execute("UPDATE t SET note = %s WHERE id = %s", [self.note, self.id])
        row = model.get(self.id)
        if row is not None and row.note != self.note:
            model[self.id] = replace(row, note=self.note, remark=self.note or f"none of {self.id}")


@dataclass(frozen=True)
class NewLast:
    id: int
    last: str

    def apply(self, sides: Sides, model: dict[int, Row]) -> None:
        sides.new.execute("UPDATE t SET last = %s WHERE id = %s", [self.last, self.id])
        row = model.get(self.id)
        if row is not None and row.last != self.last:
            name = None if row.first is None else f"{row.first} {self.last}"
            model[self.id] = replace(row, last=self.last, name=name)


RATINGS = st.none() | st.integers(0, 9)
ROLES = st.lists(WORDS, max_size=3)
WRITES = st.lists(
    st.one_of(
        st.builds(OldInsert, IDS, RATINGS, st.none() | st.tuples(WORDS, WORDS), st.none() | WORDS, st.none() | WORDS),
        st.builds(NewInsert, IDS, RATINGS, WORDS, WORDS, ROLES, WORDS),
        st.builds(OldRole, IDS, st.none() | WORDS),
        st.builds(NewRoles, IDS, ROLES),
        st.builds(OldNote, IDS, st.none() | WORDS),
        st.builds(NewLast, IDS, WORDS),
    ),
    max_size=12,
)


@pytest.fixture(scope="module")
def place(postgresql_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    found = prepared(Scenario("x", BEFORE, OPERATIONS), postgresql_cluster.database(), tmp_path_factory.mktemp("sides"))
    found.apply(found.compiled(OPERATIONS), Phase.VALIDATE)
    yield found


@pytest.fixture(scope="module")
def sides(place: Place) -> Iterator[Sides]:
    with place.sides() as found:
        yield found


def _start(sides: Sides) -> dict[int, Row]:
    sides.old.execute("DELETE FROM t")
    model: dict[int, Row] = {}
    OldInsert(1, 1, ("A", "B"), "r", None).apply(sides, model)
    OldInsert(2, None, None, None, "n").apply(sides, model)
    return model


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=WRITES)
def test_each_side_sees_what_the_other_has_written_in_its_own_shape(sides: Sides, writes: list[NewLast]) -> None:
    model = _start(sides)
    for each in writes:
        each.apply(sides, model)
    old = sides.old.execute("SELECT id, rating, name, role, note FROM t ORDER BY id").fetchall()
    new = sides.new.execute("SELECT id, rating, first, last, roles, remark FROM t ORDER BY id").fetchall()
    known = sorted(model.items())
    assert old == [(id_, row.rating, row.name, row.role, row.note) for id_, row in known]
    assert new == [(i, row.new_rating, row.first, row.last, row.roles, row.remark) for i, row in known]


def test_a_side_that_is_shown_to_be_out_of_step_would_be_found(sides: Sides) -> None:
    model = _start(sides)
    OldRole(1, "planted").apply(sides, dict(model))
    (found,) = sides.old.execute("SELECT role FROM t WHERE id = 1").fetchall()
    assert found != (model[1].role,)


def test_the_new_side_is_refused_null_and_the_old_one_is_not(sides: Sides) -> None:
    _start(sides)
    with pytest.raises(psycopg.errors.CheckViolation):
        sides.new.execute("UPDATE t SET remark = NULL")
    sides.old.execute("UPDATE t SET note = NULL")
