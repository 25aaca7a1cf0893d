-- payments that only one of the tables has, or that differ
with before as (select payment_id, customer_id, staff_id, rental_id, amount, payment_date from payment),
     now as (select payment_id, customer_id, staff_id, rental_id, amount, payment_date from payment_by_month)
(table before except table now) union all (table now except table before);

-- payments that no month takes: make a partition of payment_by_month for them, or correct them
select payment_id, payment_date from payment_other;

-- views, foreign keys and functions that hold on to the old table: replace them first, or in cleanup before the drop
select pg_describe_object(classid, objid, objsubid)
  from pg_depend
 where refobjid = 'payment'::regclass and deptype = 'n'
   and (classid in ('pg_rewrite'::regclass, 'pg_proc'::regclass)
        or classid = 'pg_constraint'::regclass
           and objid in (select oid from pg_constraint where confrelid = 'payment'::regclass));
