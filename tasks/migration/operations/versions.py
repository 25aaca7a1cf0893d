"""The schema of views that clients of a version name in their search_path. Pure.

Views of tables that a migration changes are written out. All others are passed through as the database has them at that
moment, so that a table which somebody made beside the migrations is there, too.
"""

from collections.abc import Iterable, Sequence

from tasks.migration.model import Ddl, quoted
from tasks.migration.operations.expressions import literal
from tasks.migration.operations.growing import viewed_default
from tasks.migration.operations.shape import PREFIX, ColumnState, State, TableState

_INVOKER_FROM = 150000
"""Server from which on a view can have its reader's rights."""

_PASS_THROUGH = """DO $slipway$
DECLARE one record;
BEGIN
  FOR one IN
    SELECT c.relname AS name, string_agg(format('%I', a.attname), ', ' ORDER BY a.attnum) AS columns,
      array_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) ORDER BY a.attname) AS shape
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = {base}::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
      AND c.relname <> ALL ({skip}) AND NOT starts_with(c.relname, '{prefix}')
      AND NOT EXISTS (SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    GROUP BY c.oid, c.relname ORDER BY c.relname
  LOOP
    CONTINUE WHEN one.shape = (
      SELECT array_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) ORDER BY a.attname)
      FROM pg_class v JOIN pg_attribute a ON a.attrelid = v.oid AND a.attnum > 0
      WHERE v.relnamespace = {version}::regnamespace AND v.relname = one.name);
    EXECUTE format('DROP VIEW IF EXISTS {version_name}.%I', one.name);
    EXECUTE format('CREATE VIEW {version_name}.%I {options}AS SELECT %s FROM {base_name}.%I',
      one.name, one.columns, one.name);
  END LOOP;
END $slipway$"""

_GRANTS = """DO $slipway$
DECLARE one record;
BEGIN
  FOR one IN
    SELECT DISTINCT v.relname AS name, g.privilege_type AS may, g.grantee
    FROM pg_class v
    JOIN pg_rewrite r ON r.ev_class = v.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
      AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> v.oid
    JOIN pg_class c ON c.oid = d.refobjid AND c.relnamespace = {base}::regnamespace
    CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) g
    WHERE v.relnamespace = {version}::regnamespace AND v.relkind = 'v' AND g.grantee <> v.relowner
  LOOP
    EXECUTE format('GRANT %s ON {version_name}.%I TO %s', one.may, one.name,
      CASE one.grantee WHEN 0 THEN 'PUBLIC' ELSE format('%I', pg_get_userbyid(one.grantee)) END);
  END LOOP;
  FOR one IN
    SELECT DISTINCT g.grantee FROM pg_namespace n
    CROSS JOIN LATERAL aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) g
    WHERE n.nspname = {base} AND g.privilege_type = 'USAGE'
  LOOP
    EXECUTE format('GRANT USAGE ON SCHEMA {version_name} TO %s',
      CASE one.grantee WHEN 0 THEN 'PUBLIC' ELSE format('%I', pg_get_userbyid(one.grantee)) END);
  END LOOP;
END $slipway$"""


def open_version(state: State) -> Ddl:
    """Return the step after which clients of the new version find all of it."""
    statements = [
        f"CREATE SCHEMA {quoted(state.version)}",
        f"COMMENT ON SCHEMA {quoted(state.version)} IS {literal(f'version of migration {state.number}, by Slipway')}",
    ]
    explicit = [each for each in state.tables if is_changed(each)]
    for table in explicit:
        statements += _view(state, table)
    skip = {each.physical for each in [*explicit, *state.dropped]}
    statements += [_pass_through(state, skip), _filled(_GRANTS, state)]
    undo = (Ddl(statements=(f"DROP SCHEMA IF EXISTS {quoted(state.version)} CASCADE",), what=f"close {state.version}"),)
    return Ddl(statements=tuple(statements), what=f"open the version schema {state.version}", undo=undo)


def refresh_version(state: State) -> Ddl:
    """Return the step after which the version has what raw SQL has changed when the old shape went."""
    statements = (_pass_through(state, set()), _filled(_GRANTS, state))
    return Ddl(statements=statements, what=f"renew the views of {state.version}", undo=None)


def close_versions(names: Sequence[str]) -> Ddl:
    """Return the step after which the versions before are gone."""
    statements = tuple(f"DROP SCHEMA IF EXISTS {quoted(each)} CASCADE" for each in names)
    return Ddl(statements=statements, what=f"close {', '.join(names)}", undo=None)


def view_of(state: State, table: TableState) -> str:
    """Return a table's view, as SQL."""
    return f"{quoted(state.version)}.{quoted(table.name)}"


def is_changed(table: TableState) -> bool:
    """Return whether new clients see a table otherwise than it is."""
    named = [(each.name, each.physical) for each in table.columns]
    same = table.columns == table.first and all(name == physical for name, physical in named)
    own = any(each.view_default is not None or each.view_comment is not None for each in table.columns)
    return table.created or table.name != table.physical or not same or own or table.view_comment is not None


def _view(state: State, table: TableState) -> Iterable[str]:
    view = view_of(state, table)
    columns = ", ".join(f"{quoted(each.physical)} AS {quoted(each.name)}" for each in table.columns)
    yield f"CREATE VIEW {view} {_options(state)}AS SELECT {columns} FROM {table.table}"  # noqa: S608
    for column in table.columns:
        if column.view_default is not None:
            yield f"ALTER VIEW {view} ALTER COLUMN {quoted(column.name)} SET DEFAULT {_default(column)}"
        if viewed := viewed_default(table, column):
            yield f"ALTER VIEW {view} ALTER COLUMN {quoted(column.name)} SET DEFAULT {viewed}"
        comment = column.comment if column.view_comment is None else column.view_comment
        if comment:
            yield f"COMMENT ON COLUMN {view}.{quoted(column.name)} IS {literal(comment)}"
    comment = table.comment if table.view_comment is None else table.view_comment
    if comment:
        yield f"COMMENT ON VIEW {view} IS {literal(comment)}"


def _default(column: ColumnState) -> str:
    # A view's default that is plainly NULL is none, and the table's own would be used.
    return column.view_default or f"nullif(''::text, '')::{column.type}"


def _pass_through(state: State, skip: set[str]) -> str:
    names = ", ".join(literal(each) for each in sorted(skip))
    text = _PASS_THROUGH.replace("{skip}", f"ARRAY[{names}]::name[]").replace("{prefix}", PREFIX)
    return _filled(text.replace("{options}", _options(state)), state)


def _filled(text: str, state: State) -> str:
    text = text.replace("n.nspname = {base}", f"n.nspname = {literal(state.base)}")
    values = {
        "{base}": literal(quoted(state.base)),
        "{version}": literal(quoted(state.version)),
        "{base_name}": _within(quoted(state.base)),
        "{version_name}": _within(quoted(state.version)),
    }
    for mark, value in values.items():
        text = text.replace(mark, value)
    return text


def _within(name: str) -> str:
    """Return a quoted name as it stands within a literal that format() reads."""
    return name.replace("'", "''").replace("%", "%%")


def _options(state: State) -> str:
    return "WITH (security_invoker = true) " if state.catalogue.server_version >= _INVOKER_FROM else ""
