-- Nullable, and without a default: the code that runs does not know it.
alter table customer add column full_name text;
create index concurrently customer_full_name on customer (full_name);

-- What old code writes from now on has the new column, too.
create function customer_full_name() returns trigger language plpgsql as $$
begin
    new.full_name := concat_ws(' ', new.first_name, new.last_name);
    return new;
end $$;
create trigger customer_full_name before insert or update of first_name, last_name on customer
    for each row execute function customer_full_name();
