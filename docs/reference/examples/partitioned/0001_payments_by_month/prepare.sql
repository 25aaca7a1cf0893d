-- Beside the old table, with its columns; the key has to have the column of the ranges in it. Grant what the old one has.
create table payment_by_month (
    like payment including defaults including constraints including comments, primary key (payment_date, payment_id)
) partition by range (payment_date);
create index payment_by_month_customer on payment_by_month (customer_id);

-- A partition for each month that has payments, and for this one and the next; another one for what no month takes, so
-- that no writer of the old table fails meanwhile.
create table payment_other partition of payment_by_month default;
do $$
declare
    month timestamptz;
begin
    for month in
        select at at time zone 'UTC'
          from generate_series((select date_trunc('month', coalesce(min(payment_date), now()), 'UTC') from payment)
                                   at time zone 'UTC',
                               (select date_trunc('month', greatest(max(payment_date), now()), 'UTC') from payment)
                                   at time zone 'UTC' + interval '1 month', interval '1 month') as at
    loop
        execute format('create table %I partition of payment_by_month for values from (%L) to (%L)',
                       'payment_p' || to_char(month at time zone 'UTC', 'YYYY_MM'), month,
                       (month at time zone 'UTC' + interval '1 month') at time zone 'UTC');
    end loop;
end $$;

-- What anybody writes from now on is in both. The row's lock keeps writers and the backfill apart.
alter table payment add column moved boolean;
create function payment_in_step() returns trigger language plpgsql as $$
begin
    if tg_op = 'TRUNCATE' then
        truncate payment_by_month;
        return null;
    end if;
    if tg_op <> 'INSERT' then
        delete from payment_by_month where payment_date = old.payment_date and payment_id = old.payment_id;
    end if;
    if tg_op <> 'DELETE' then
        insert into payment_by_month (payment_id, customer_id, staff_id, rental_id, amount, payment_date)
        values (new.payment_id, new.customer_id, new.staff_id, new.rental_id, new.amount, new.payment_date);
    end if;
    return null;
end $$;
create trigger payment_in_step after insert or update or delete on payment
    for each row execute function payment_in_step();
create trigger payment_emptied after truncate on payment execute function payment_in_step();
