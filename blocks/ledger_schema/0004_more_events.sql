-- Deliveries may be about pull requests, releases and workflows, and about what other senders have names of their own for.

alter table slipway.delivery drop constraint delivery_happening_check;
alter table slipway.delivery add constraint delivery_happening_check
    check (happening in ('push', 'tag', 'pull-request', 'release', 'workflow', 'other'));
