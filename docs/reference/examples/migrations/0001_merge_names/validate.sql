-- customers without a name
select customer_id from customer where full_name is null;

-- customers whose name is not made of its parts
select customer_id from customer where full_name is distinct from concat_ws(' ', first_name, last_name);
