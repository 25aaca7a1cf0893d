-- One transaction. The table itself stays, and with it its views and rights.
lock table payment in access exclusive mode;
drop trigger payment_in_step on payment;
drop function payment_in_step();
drop table payment_p2022_01, payment_p2022_02, payment_p2022_03, payment_p2022_04, payment_p2022_05, payment_p2022_06,
    payment_p2022_07;
alter table payment drop column moved;
alter table payment_by_quarter detach partition payment_p2022_q1;
alter table payment_by_quarter detach partition payment_p2022_q2;
alter table payment_by_quarter detach partition payment_p2022_q3;
drop table payment_by_quarter;
alter table payment attach partition payment_p2022_q1
    for values from ('2022-01-01 00:00+00') to ('2022-04-01 00:00+00');
alter table payment attach partition payment_p2022_q2
    for values from ('2022-04-01 00:00+00') to ('2022-07-01 00:00+00');
alter table payment attach partition payment_p2022_q3
    for values from ('2022-07-01 00:00+00') to ('2022-10-01 00:00+00');
