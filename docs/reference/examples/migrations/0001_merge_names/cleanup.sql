drop trigger customer_full_name on customer;
drop function customer_full_name();
alter table customer drop column first_name, drop column last_name;
