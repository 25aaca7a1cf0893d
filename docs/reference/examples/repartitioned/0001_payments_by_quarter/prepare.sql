-- The quarters, filled beside the table. Each has its bounds as a check: it is attached without being read.
create table payment_by_quarter (
    like payment including defaults including constraints including comments, primary key (payment_date, payment_id)
) partition by range (payment_date);
create table payment_p2022_q1 partition of payment_by_quarter
    (check (payment_date >= '2022-01-01 00:00+00' and payment_date < '2022-04-01 00:00+00'))
    for values from ('2022-01-01 00:00+00') to ('2022-04-01 00:00+00');
create table payment_p2022_q2 partition of payment_by_quarter
    (check (payment_date >= '2022-04-01 00:00+00' and payment_date < '2022-07-01 00:00+00'))
    for values from ('2022-04-01 00:00+00') to ('2022-07-01 00:00+00');
create table payment_p2022_q3 partition of payment_by_quarter
    (check (payment_date >= '2022-07-01 00:00+00' and payment_date < '2022-10-01 00:00+00'))
    for values from ('2022-07-01 00:00+00') to ('2022-10-01 00:00+00');
create index payment_by_quarter_customer on payment_by_quarter (customer_id);
alter table payment_by_quarter add foreign key (customer_id) references customer (customer_id);
alter table payment_by_quarter add foreign key (staff_id) references staff (staff_id);
alter table payment_by_quarter add foreign key (rental_id) references rental (rental_id);

alter table payment add column moved boolean;
create function payment_in_step() returns trigger language plpgsql as $$
begin
    if tg_op <> 'INSERT' then
        delete from payment_by_quarter where payment_date = old.payment_date and payment_id = old.payment_id;
    end if;
    if tg_op <> 'DELETE' then
        insert into payment_by_quarter (payment_id, customer_id, staff_id, rental_id, amount, payment_date)
        values (new.payment_id, new.customer_id, new.staff_id, new.rental_id, new.amount, new.payment_date);
    end if;
    return null;
end $$;
create trigger payment_in_step after insert or update or delete on payment
    for each row execute function payment_in_step();
