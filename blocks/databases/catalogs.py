"""What PostgreSQL's catalogs say of a database: the queries.

Every session that asks has nothing but pg_catalog on its search path, so that all names in definitions are qualified.
*Source:* PostgreSQL 15 manual, chapter 53 (system catalogs) and section 9.26.4 (catalog information functions).
"""

# ruff: noqa: S608 - put together from this file's own constants, before anything is asked

from tasks.verification.model import HEARTBEAT_TABLE

_OWN = "n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'"
# Members of extensions come with these, and are as their versions.
_MEMBER = (
    "not exists (select 1 from pg_depend m where m.classid = '{0}'::regclass and m.objid = {1} and m.deptype = 'e')"
)


def _free(catalog: str, oid: str) -> str:
    return _MEMBER.format(catalog, oid)


_RELATION = f"{_OWN} and c.relname <> '{HEARTBEAT_TABLE}' and {_free('pg_class', 'c.oid')}"

SERVER = """
select current_database(), current_setting('server_version'), pg_database_size(current_database()),
       current_setting('data_checksums') = 'on'
"""

EXTENSIONS = "select extname, extversion from pg_extension where extname not in ('plpgsql', 'amcheck') order by 1"
"""Without amcheck, which a verification installs into the copy."""

OBJECTS = (
    f"""select 'schema', n.nspname, '' from pg_namespace n where {_OWN} and {_free("pg_namespace", "n.oid")}""",
    f"""select case c.relkind when 'S' then 'sequence' when 'f' then 'foreign table' else 'table' end,
        format('%I.%I', n.nspname, c.relname),
        concat_ws(' ', c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, pg_get_partkeydef(c.oid),
                  pg_get_expr(c.relpartbound, c.oid), s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin,
                  s.seqmax, s.seqcycle)
        from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_sequence s on s.seqrelid = c.oid
        where c.relkind in ('r', 'p', 'f', 'S') and {_RELATION}""",
    f"""select 'column', format('%I.%I.%I', n.nspname, c.relname, a.attname),
        concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                  pg_get_expr(d.adbin, d.adrelid), l.collname)
        from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        left join pg_collation l on l.oid = a.attcollation
        where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'f', 'c') and {_RELATION}""",
    f"""select 'constraint', format('%I.%I %I', n.nspname, coalesce(c.relname, t.typname), k.conname),
        concat_ws(' ', pg_get_constraintdef(k.oid), k.convalidated)
        from pg_constraint k join pg_namespace n on n.oid = k.connamespace left join pg_class c on c.oid = k.conrelid
        left join pg_type t on t.oid = k.contypid
        where k.contype <> 't' and coalesce(c.relname, '') <> '{HEARTBEAT_TABLE}' and {_OWN}
              and {_free("pg_class", "k.conrelid")} and {_free("pg_type", "k.contypid")}""",
    f"""select 'index', format('%I.%I', n.nspname, i.relname), concat_ws(' ', pg_get_indexdef(i.oid), x.indisvalid)
        from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class c on c.oid = x.indrelid
        join pg_namespace n on n.oid = i.relnamespace where {_RELATION}""",
    f"""select 'view', format('%I.%I', n.nspname, c.relname), concat_ws(' ', c.relkind, pg_get_viewdef(c.oid))
        from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('v', 'm') and {_RELATION}""",
    f"""select 'function', format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
        case when p.prokind = 'a' then concat_ws(' ', p.prorettype::regtype, g.aggtransfn, g.aggfinalfn, g.agginitval)
             else pg_get_functiondef(p.oid) end
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace left join pg_aggregate g on g.aggfnoid = p.oid
        where {_OWN} and {_free("pg_proc", "p.oid")}""",
    f"""select 'trigger', format('%I.%I %I', n.nspname, c.relname, t.tgname),
        concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled)
        from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
        where not t.tgisinternal and {_RELATION}""",
    f"""select 'type', format('%I.%I', n.nspname, t.typname),
        concat_ws(' ', t.typtype, format_type(nullif(t.typbasetype, 0), t.typtypmod), t.typnotnull, t.typdefault,
                  (select string_agg(quote_literal(e.enumlabel), ' ' order by e.enumsortorder)
                   from pg_enum e where e.enumtypid = t.oid),
                  (select r.rngsubtype::regtype from pg_range r where r.rngtypid = t.oid))
        from pg_type t join pg_namespace n on n.oid = t.typnamespace left join pg_class c on c.oid = t.typrelid
        where (t.typtype in ('e', 'd', 'r') or c.relkind = 'c') and {_OWN} and {_free("pg_type", "t.oid")}""",
    f"""select 'policy', format('%I.%I %I', n.nspname, c.relname, p.polname),
        concat_ws(' ', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
                  pg_get_expr(p.polwithcheck, p.polrelid))
        from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
        where {_RELATION}""",
    f"""select 'rule', format('%I.%I %I', n.nspname, c.relname, r.rulename), pg_get_ruledef(r.oid)
        from pg_rewrite r join pg_class c on c.oid = r.ev_class join pg_namespace n on n.oid = c.relnamespace
        where r.rulename <> '_RETURN' and {_RELATION}""",
    "select 'extension', extname, extversion from pg_extension where extname <> 'amcheck'",
)
"""Kind, name and definition of each object; a query for each kind."""

TABLES = f"""
select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and {_RELATION} order by c.relpages, 1, 2
"""
"""The small ones first, so that most are counted when time is short."""

SEQUENCES = f"""
select distinct sn.nspname, s.relname, n.nspname, c.relname, a.attname, q.seqincrement
from (select d.objid as sequence, d.refobjid as relation, d.refobjsubid as number from pg_depend d
      where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
            and d.refobjsubid > 0
      union
      select d.refobjid, f.adrelid, f.adnum from pg_depend d join pg_attrdef f on f.oid = d.objid
      where d.classid = 'pg_attrdef'::regclass and d.refclassid = 'pg_class'::regclass) u
join pg_class s on s.oid = u.sequence and s.relkind = 'S' join pg_namespace sn on sn.oid = s.relnamespace
join pg_sequence q on q.seqrelid = s.oid and not q.seqcycle
join pg_class c on c.oid = u.relation and c.relkind in ('r', 'p') join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum = u.number and a.atttypid in (20, 21, 23)
where not c.relispartition and {_RELATION} order by 1, 2, 3, 4, 5
"""

FOREIGN_KEYS = f"""
select format('%I.%I %I', n.nspname, c.relname, k.conname), k.confmatchtype,
       n.nspname, c.relname, pn.nspname, p.relname,
       array(select a.attname::text from unnest(k.conkey) with ordinality u(number, place)
             join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.number order by u.place),
       array(select a.attname::text from unnest(k.confkey) with ordinality u(number, place)
             join pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.number order by u.place),
       array(select format('operator(%I.%s)', o.nspname, e.oprname) from unnest(k.conpfeqop) with ordinality
             u(operator, place) join pg_operator e on e.oid = u.operator join pg_namespace o on o.oid = e.oprnamespace
             order by u.place)
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
join pg_class p on p.oid = k.confrelid join pg_namespace pn on pn.oid = p.relnamespace
where k.contype = 'f' and k.convalidated and k.conparentid = 0 and {_RELATION} order by 1
"""
"""Those that are in force: what is not valid yet may have orphans. Of partitions only the parent's."""
