-- One transaction: who waits for the old table finds the new one under its name.
lock table payment in access exclusive mode;
alter sequence payment_payment_id_seq owned by payment_by_month.payment_id;
drop table payment;
do $$
begin
    if not exists (select from payment_other) then
        drop table payment_other;
    end if;
end $$;
drop function payment_in_step();
alter table payment_by_month rename to payment;
alter index payment_by_month_pkey rename to payment_pkey;
alter index payment_by_month_customer rename to payment_customer;
