drop trigger if exists customer_full_name on customer;
drop function if exists customer_full_name();
drop index concurrently if exists customer_full_name;
alter table customer drop column if exists full_name;
