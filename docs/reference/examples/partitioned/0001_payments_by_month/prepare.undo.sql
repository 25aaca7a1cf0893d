drop trigger if exists payment_in_step on payment;
drop trigger if exists payment_emptied on payment;
drop function if exists payment_in_step();
drop table if exists payment_by_month;
alter table payment drop column if exists moved;
