"""Whether the writes may go to another site, to which, and who is asked before. Pure; nothing is changed."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tasks.common.errors import Refused, Retryable, Unsafe
from tasks.common.failovers import Scope
from tasks.common.moves import DECIDED, Move, MoveKind, MoveNote
from tasks.common.sites import Cluster, ClusterRole, NodeState
from tasks.common.units import show_duration, show_percent, show_size
from tasks.failover.model import Decision, Detection, Finding, Loss, Rules, Seen, SiteSeen, Wish
from tasks.failover.plan import way_back

_NOTHING = Loss(0.0, 0, "planned: the old site stops to write, and the new one has everything before it is promoted")
_OTHERWISE = "bring {} up again"


def decide(wish: Wish, seen: Seen, rules: Rules, run_id: str, begun: Move | None, last_target: str = "") -> Decision:
    """Return what is to be done.

    Args:
        wish: what is asked for.
        seen: the sites and the names.
        rules: of the failover.
        run_id: of the run that asks.
        begun: the move that is on record as begun and not ended; None where there is none.
        last_target: where the latest ended move on record has gone to; '' where there was none.

    Raises:
        Refused: it is not done; the error says why, and what to do in its place.
        Unsafe: two sites take writes.
        Retryable: what has to be known does not answer.
    """
    if begun is not None and _carries_on(wish, begun):
        return _carried_on(wish, begun, seen)
    if begun is not None and _goes_back(wish, begun, seen):
        back = replace(way_back(begun), id=run_id)
        return Decision(back, "", _NOTHING, (f"this takes back the {begun}: {begun.source} serves again",))
    if begun is not None and begun.promoting and wish.kind is not MoveKind.FAILOVER:
        raise Refused(
            f"a {begun} is past its point of no return, and has not ended",
            on=rules.name,
            state=f"{begun.target} was being promoted",
            next_action=f"'slipway {begun.kind} {rules.name} --to {begun.target}' carries it on; then ask again",
        )
    served = _served(seen, begun, last_target)
    _refuse_two(seen, rules)
    move = Move(run_id, wish.kind, served, "", unfenced=wish.accept_unfenced)
    if wish.kind is MoveKind.FAILOVER:
        _must_be_down(wish, seen.sites[served], rules)
    target = _target(wish, seen, seen.sites[served], rules)
    move = replace(move, target=target.name)
    if wish.kind is MoveKind.FAILOVER:
        _fit(target, seen.sites[served], rules)
        loss = loss_of(seen.sites[served], target, wish)
        _within_objective(loss, wish, rules, move)
    else:
        _well(wish.kind, seen.sites[served], target, seen, rules)
        loss = _NOTHING
    return Decision(move, _asks(wish, rules, target), loss, _remarks(wish, seen, served, target, begun, loss))


def loss_of(old: SiteSeen, new: SiteSeen, wish: Wish) -> Loss:
    """Return what would be lost of what the old site has acknowledged."""
    cluster = new.cluster
    assert cluster is not None
    behind = _behind_bytes(old.cluster, cluster)
    if behind == 0:
        return Loss(0.0, 0, f"{old.name} says how far it has written, and {new.name} has all of it")
    since = wish.detection.since if wish.detection is not None else wish.down_since
    if since is not None and cluster.replayed_at is not None:
        seconds = max(0.0, (since - cluster.replayed_at).total_seconds())
        how = (
            f"{old.name} stopped at {_moment(since)}, and the last transaction that {new.name} has is of "
            f"{_moment(cluster.replayed_at)}"
        )
        return Loss(seconds, behind, how)
    if cluster.lag_s is not None:
        how = f"the last transaction that {new.name} has is so old; nobody says when {old.name} stopped (--down-since)"
        return Loss(cluster.lag_s, behind, how)
    return Loss(None, behind, f"{new.name} does not say what it has")


def loss_on_record(move_id: str, notes: Sequence[MoveNote]) -> Loss | None:
    """Return what was said to be lost when a move was decided on; None where that is not on record."""
    facts = next((note.facts for note in notes if note.move_id == move_id and note.kind == DECIDED), {})
    seconds, size = facts.get("loss_s"), facts.get("loss_bytes")
    if "loss" not in facts:
        return None
    return Loss(
        float(seconds) if isinstance(seconds, int | float) else None,
        size if isinstance(size, int) else None,
        str(facts["loss"]),
    )


def show_loss(loss: Loss) -> str:
    """Return a loss in words: 'the writes of 12 s at most (34 KiB of WAL)'."""
    if loss.bytes == 0:
        return "nothing"
    if loss.seconds == 0:
        # It went on for a while after the moment that is taken for its end: what came last may not have been sent.
        said = "nothing, or the writes of its last moment"
    elif loss.seconds is None:
        said = "nobody can say how much"
    else:
        said = f"the writes of {show_duration(loss.seconds)} at most"
    return f"{said} ({show_size(loss.bytes)} of WAL)" if loss.bytes is not None else said


def _carries_on(wish: Wish, begun: Move) -> bool:
    if begun.way_back:
        return wish.kind is MoveKind.SWITCHOVER and wish.to == begun.target
    return wish.kind is begun.kind and wish.to in ("", begun.target)


def _goes_back(wish: Wish, begun: Move, seen: Seen) -> bool:
    """Return whether the site is asked for that served, and the other one was never promoted."""
    target = seen.sites[begun.target]
    untouched = not target.leads and (not begun.promoting or target.stopped_writing)
    return wish.kind is MoveKind.SWITCHOVER and wish.to == begun.source and not begun.way_back and untouched


def _carried_on(wish: Wish, begun: Move, seen: Seen) -> Decision:
    old, new = seen.sites[begun.source], seen.sites[begun.target]
    if begun.kind is MoveKind.SWITCHOVER and not begun.promoting and old.leads and new.leads:
        raise _two((old, new), str(begun))
    remarks = [f"this carries on the {begun}, which run {begun.id[:8]} has begun"]
    if wish.accept_unfenced:
        remarks.append(_takes_the_risk(wish))
    move = replace(begun, unfenced=wish.accept_unfenced or begun.unfenced)
    return Decision(move, "", Loss(None, None, "as it was decided before"), tuple(remarks), carried_on=True)


def _served(seen: Seen, begun: Move | None, last_target: str) -> str:
    """Return the region that has served until now: what users are told counts, then what is seen, then the record."""
    if begun is not None:
        return begun.target if begun.promoting else begun.source
    pointed = seen.pointed_to()
    if pointed is not None:
        return pointed
    leading = [site.name for site in seen.sites.values() if site.leads]
    if len(leading) == 1:
        return leading[0]
    if last_target in seen.sites:
        return last_target
    raise Retryable(
        "it is not known which site serves: the DNS server does not say, and "
        + (f"{' and '.join(leading)} are primaries" if leading else "no database says that it is the primary"),
        on=", ".join(seen.sites),
        next_action="bring the DNS server back, or a database of the site that serves, then run this again",
    )


def _refuse_two(seen: Seen, rules: Rules) -> None:
    serving = [site for site in seen.sites.values() if site.cluster is not None and site.cluster.writable]
    open_ones = [site for site in serving if not site.shut]
    if len(open_ones) > 1:
        raise _two(open_ones, rules.name)


def _two(sites: Sequence[SiteSeen], on: str) -> Unsafe:
    names = " and ".join(site.name for site in sites)
    return Unsafe(
        f"{names} take writes, both",
        on=on,
        state="nothing was changed now; users may be writing to both",
        next_action="shut the door of the one that the names do not point to, keep its data for repair, then run this "
        "again",
    )


def _must_be_down(wish: Wish, old: SiteSeen, rules: Rules) -> None:
    found = wish.detection
    if found is not None:
        _require_quorum(found, old, rules)
        if found.finding is Finding.SITE_DOWN:
            return
    if old.serves:
        raise Refused(
            f"{old.name} serves: its database takes writes, and its door is open",
            on=rules.name,
            next_action=f"nothing; or, to have another site serve without a loss: 'slipway switchover {rules.name}'",
        )


def _require_quorum(found: Detection, old: SiteSeen, rules: Rules) -> None:
    if found.region != old.name:
        raise Refused(
            f"{found.region} was found {found.finding.value}, and it is {old.name} that serves",
            on=rules.name,
            next_action=f"nothing for the users; see what is wrong at {found.region}",
        )
    if found.finding not in (Finding.SITE_DOWN, Finding.DATABASE_DOWN):
        raise Refused(
            f"{old.name} was found '{found.finding.value}', which is no reason to fail over",
            on=rules.name,
            next_action="see what the vantage points say: 'slipway watch --once'",
        )
    if found.points < found.quorum:
        raise Refused(
            f"no quorum: {found.points} of the vantage points found {old.name} {found.finding.value}, and it takes "
            f"{found.quorum}",
            on=rules.name,
            next_action="look yourself; a person may ask for the failover by 'slipway failover'",
        )


def _target(wish: Wish, seen: Seen, old: SiteSeen, rules: Rules) -> SiteSeen:
    if wish.kind is not MoveKind.FAILOVER and not wish.to:
        raise Refused(
            "it is not said which site is to serve",
            on=rules.name,
            next_action=f"name it by --to: {' or '.join(site.name for site in seen.others(old.name))}",
        )
    others = seen.others(old.name)
    here = [site for site in others if site.region.zone == old.region.zone]
    if wish.to:
        if wish.to not in seen.sites:
            raise Refused(
                f"no site of {rules.name} is in a region {wish.to!r}",
                on=rules.name,
                next_action=f"name one of: {', '.join(sorted(site.name for site in here))}",
            )
        named = seen.sites[wish.to]
        if named.name == old.name:
            raise Refused(f"{old.name} is the site that serves", on=rules.name, next_action="name another one by --to")
        if named.region.zone != old.region.zone:
            raise Refused(
                f"{named.name} is in the zone {named.region.zone}, and the data may not leave {old.region.zone}",
                on=rules.name,
                next_action=f"name a site of {old.region.zone}, or {_OTHERWISE.format(old.name)}",
            )
        return named
    if not here:
        raise Refused(
            f"there is no other site in the zone {old.region.zone}, which the data may not leave",
            on=rules.name,
            next_action=_OTHERWISE.format(old.name),
        )
    fit = [site for site in here if not _unfit(site, old, rules)]
    return (fit or here)[0]


def _unfit(site: SiteSeen, old: SiteSeen, rules: Rules) -> str:
    """Return why a site cannot take writes, one sentence; '' if nothing is in the way."""
    found = site.cluster
    if found is None:
        return f"the standby in {site.name} is missing: {site.problem or 'nothing of it answers'}"
    wanted = rules.system_id or (old.cluster.system_id if old.cluster is not None else "")
    if wanted and found.system_id != wanted:
        return f"{site.name} holds the data of another system: {found.system_id or 'it names none'}, and not {wanted}"
    if not wanted and found.follows != old.primary_at:
        return f"it cannot be shown that {site.name} holds the data of {old.name}: it does not follow {old.primary_at}"
    if found.role is ClusterRole.UNKNOWN:
        return f"it is not known what the database in {site.name} is: {found.problem}"
    if not any(node.state is NodeState.RUNNING for node in found.nodes):
        return f"no node of the database in {site.name} runs"
    return ""


def _fit(target: SiteSeen, old: SiteSeen, rules: Rules) -> None:
    why = _unfit(target, old, rules)
    if why:
        raise Refused(
            why,
            on=f"{rules.name}: failover from {old.name} to {target.name}",
            next_action=f"{_OTHERWISE.format(old.name)}, or bring the standby in {target.name} up; with more sites, "
            "name another one by --to",
        )


def _within_objective(loss: Loss, wish: Wish, rules: Rules, move: Move) -> None:
    if (loss.seconds is not None and loss.seconds <= rules.rpo_s) or wish.accept_loss:
        return
    raise Refused(
        f"{show_loss(loss)} would be lost, and the objective is {show_duration(rules.rpo_s)}",
        on=f"{rules.name}: {move}",
        next_action=f"{_OTHERWISE.format(move.source)}, and nothing is lost; or take the loss in writing: "
        "--accept-loss 'why'",
        facts={"how it is known": loss.how},
    )


def _well(kind: MoveKind, old: SiteSeen, new: SiteSeen, seen: Seen, rules: Rules) -> None:
    on, wrong = f"{rules.name}: {kind} from {old.name} to {new.name}", []
    if not old.serves:
        wrong.append(f"{old.name} does not serve: its database takes no writes, or its door is not open")
    elif old.cluster is not None and old.cluster.lsn is None:
        wrong.append(f"the database of {old.name} says no position in its log: that nothing is lost could not be shown")
    if kind is MoveKind.SWITCHOVER:
        wrong += _unready(old, new, rules)
    elif new.cluster is None:
        wrong.append(f"nothing of the database in {new.name} answers: {new.problem}")
    elif new.cluster.system_id and old.cluster and new.cluster.system_id != old.cluster.system_id:
        wrong.append(f"{new.name} holds the data of another system: {new.cluster.system_id}")
    wrong += [f"the DNS server says nothing of {name}" for name, answer in seen.answers.items() if answer is None]
    if new.door is None:
        wrong.append(f"the door of {new.name} does not answer")
    if wrong:
        again = "a failover where the site that serves is down; else repair it, and run this again"
        raise Refused(
            wrong[0], on=on, next_action=again, facts={f"problem {n}": text for n, text in enumerate(wrong, 1)}
        )


def _unready(old: SiteSeen, new: SiteSeen, rules: Rules) -> list[str]:
    why = _unfit(new, old, rules)
    if why:
        return [why]
    assert new.cluster is not None
    if old.cluster is None:
        return [f"the database of {old.name} does not answer: {old.problem}"]
    found = []
    if new.cluster.role is not ClusterRole.STANDBY or new.cluster.follows != old.primary_at:
        found.append(
            f"{new.name} is no standby of {old.name}: 'slipway failback {rules.name} --to {new.name}' makes it one"
        )
    elif not new.cluster.streaming:
        found.append(f"{new.name} receives nothing from {old.name}")
    silent = old.cluster.silent
    if silent:
        found.append(f"it cannot be shown that all of {old.name} stops to write: {', '.join(silent)} does not answer")
    lag_s = new.cluster.lag_s
    if new.cluster.lag_bytes != 0 and (lag_s is None or lag_s > rules.lag_at_start_s):
        behind = "an unknown time" if lag_s is None else show_duration(lag_s)
        found.append(
            f"{new.name} is {behind} behind; users would wait for longer than {show_duration(rules.lag_at_start_s)}"
        )
    return found


def _asks(wish: Wish, rules: Rules, target: SiteSeen) -> str:
    if wish.kind is MoveKind.FAILBACK:
        return f"what only {target.name} has is thrown away when it is rebuilt"
    if rules.scope is Scope.GLOBAL:
        return f"{rules.name} is global: a person decides"
    return ""


def _remarks(wish: Wish, seen: Seen, served: str, target: SiteSeen, begun: Move | None, loss: Loss) -> tuple[str, ...]:
    old = seen.sites[served].region
    said = []
    if begun is not None:
        said.append(f"the {begun} that run {begun.id[:8]} has begun is given up for this one")
    if target.region.capacity_percent < old.capacity_percent:
        said.append(
            f"{target.name} can take {show_percent(target.region.capacity_percent)} of the load, and {old.name} took "
            f"{show_percent(old.capacity_percent)}"
        )
    passed = [site.name for site in seen.others(served) if site.region.priority < target.region.priority]
    if passed and not wish.to:
        said.append(f"passed over, though of higher priority: {', '.join(passed)} (another zone, or not fit)")
    if wish.accept_loss and loss.seconds != 0:
        said.append(f"{wish.by or 'somebody'} takes the loss: {wish.accept_loss}")
    if wish.accept_unfenced:
        said.append(_takes_the_risk(wish))
    return tuple(said)


def _takes_the_risk(wish: Wish) -> str:
    return f"{wish.by or 'somebody'} takes the risk of a site that is not fenced: {wish.accept_unfenced}"


def _behind_bytes(old: Cluster | None, new: Cluster) -> int | None:
    if old is not None and old.lsn is not None and new.lsn is not None and old.stopped_writing:
        # After the histories have parted positions say nothing about each other.
        return max(0, old.lsn - new.lsn) if old.timeline == new.timeline else None
    return new.lag_bytes


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"
