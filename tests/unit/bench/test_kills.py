"""The moments at which something is killed lie evenly over the work, and are told by it."""

from tests.support.kills import Target, Tick, moments

TICKS = [
    Tick("start of the phase", 0.0),
    Tick("begin pg_basebackup", 1.0),
    Tick("end pg_basebackup", 5.0),
    Tick("open a", 5.0),
    Tick("begin pg_verifybackup", 6.0),
    Tick("end pg_verifybackup", 8.0),
    Tick("end of the phase", 10.0),
]


def struck_at(target: Target, of: int) -> list[float]:
    return [TICKS[each.tick].at_s + each.after_s for each in moments(TICKS, of, target)]


def test_moments_lie_evenly_between_begin_and_end() -> None:
    assert struck_at(Target.WORKER, 10) == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5]
    assert len(struck_at(Target.STORE, 20)) == 20


def test_engine_is_struck_only_while_a_program_is_at_work() -> None:
    assert struck_at(Target.ENGINE, 6) == [1.5, 2.5, 3.5, 4.5, 6.5, 7.5]
    assert moments(TICKS[:1] + TICKS[3:4] + TICKS[-1:], 20, Target.ENGINE) == ()


def test_moment_is_named_and_says_what_was_being_done() -> None:
    moment = moments(TICKS, 20, Target.WORKER)[4]
    assert (str(moment), moment.tick, moment.doing) == ("05of20", 1, "begin pg_basebackup")
