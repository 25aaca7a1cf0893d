-- payments that only one of the tables has, or that differ
with before as (select payment_id, customer_id, staff_id, rental_id, amount, payment_date from payment),
     now as (select payment_id, customer_id, staff_id, rental_id, amount, payment_date from payment_by_quarter)
(table before except table now) union all (table now except table before);
