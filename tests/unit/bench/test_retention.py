from tests.bench.retention import made, measure


def test_backups_of_the_benchmark_need_only_what_is_there() -> None:
    backups = made(4000)
    there = {(each.repository, each.stored.label) for each in backups}
    assert len(there) == len(backups) == 4000
    assert all((each.repository, need) in there for each in backups for need in each.stored.needs)
    assert {len(each.stored.needs) for each in backups} == {0, 1, 2}


def test_fewer_backups_than_claimed_never_meet_the_claim() -> None:
    section = measure(500)
    assert section.met is False
    assert section.data["backups"] == 500
