-- payments that only one of the tables has, or that differ
with before as (select payment_id, customer_id, staff_id, rental_id, amount, payment_date from payment),
     now as (select payment_id, customer_id, staff_id, rental_id, amount, payment_date from payment_by_quarter)
(table before except table now) union all (table now except table before);

-- partitions that this migration knows nothing of
select inhrelid::regclass
  from pg_inherits
 where inhparent = 'payment'::regclass
   and inhrelid::regclass::text not in ('payment_p2022_01', 'payment_p2022_02', 'payment_p2022_03', 'payment_p2022_04',
                                        'payment_p2022_05', 'payment_p2022_06', 'payment_p2022_07');
