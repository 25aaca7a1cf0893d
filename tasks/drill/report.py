"""What people read about a drill: the verdict first, then what to improve, each round, and how it has become. Pure."""

from collections.abc import Callable, Sequence

from tasks.common.drills import DrillObjectives, Experiment
from tasks.common.markdown import escape, table
from tasks.common.units import show_duration
from tasks.drill.judge import Round, improvements, spread

_BAR = 50
HEAD = ("round", "outcome", "RTO", "lost", "writable together", "verdict")


def headline(experiment: Experiment, rounds: Sequence[Round]) -> str:
    """Return the verdict in one line."""
    if not rounds:
        return f"{experiment.drill}: nothing was injected"
    good = sum(each.passed for each in rounds)
    times = f" in {good} of {len(rounds)} rounds" if len(rounds) > 1 else ""
    verdict = "passed" if good == len(rounds) else "FAILED"
    found = spread([each.rto_s for each in rounds])
    rto = f"RTO {rounds[0].rto_s:.1f} s" if len(rounds) == 1 else f"RTO {found}"
    lost = sum(len(each.loss.lost) for each in rounds if each.loss is not None)
    return f"{experiment.drill} {verdict}{times}: {rounds[-1].outcome.value}, {rto}, {lost} acknowledged writes lost"


def title_of(one: Round, drill: str) -> str:
    """Return what stands above the picture of a round."""
    lost = "not counted" if one.loss is None else f"{len(one.loss.lost)} of {one.loss.acknowledged} writes lost"
    return f"{drill}, round {one.number}: {one.outcome.value}, RTO {one.rto_s:.2f} s, {lost}"


def cells(one: Round) -> tuple[str, ...]:
    """Return a round as a row under `HEAD`."""
    lost = "not counted" if one.loss is None else f"{len(one.loss.lost)} of {one.loss.acknowledged}"
    if one.loss is not None and one.loss.lost:
        lost += f", {one.loss.rpo_s:.1f} s"
    together = ", ".join(f"{each.first} and {each.second}" for each in one.together) or "never"
    rto = f"{one.rto_s:.2f} s" + ("" if one.recovery.ended else ", not over")
    return str(one.number), one.outcome.value, rto, lost, together, "passed" if one.passed else "; ".join(one.problems)


def report(
    experiment: Experiment,
    objectives: DrillObjectives,
    rounds: Sequence[Round],
    *,
    timeline: str,
    before: Sequence[tuple[str, float, bool]],
    evidence: str,
    problem: str,
    redact: Callable[[str], str],
) -> str:
    """Return the drill as Markdown.

    Args:
        experiment: what was done.
        objectives: what had to be achieved.
        rounds: what each has come to.
        timeline: of the last round, as text.
        before: earlier drills of this experiment, newest first: when, RTO in seconds, whether it passed.
        evidence: folder with the client's logs and the pictures.
        problem: why it has ended early; '' if it has not.
        redact: takes the secrets out of a text.
    """

    def cell(text: str) -> str:
        return escape(redact(text))

    said = headline(experiment, rounds)
    parts = [
        f"**{cell(said)}.**",
        f"**It has ended early.** {cell(problem.splitlines()[0])}" if problem and said not in problem else "",
        f"# Drill: {cell(experiment.title)}",
        f"Believed: {cell(experiment.hypothesis.says)}. Expected: {experiment.expect.value}. Objectives: "
        f"RTO {show_duration(objectives.rto_s)}, RPO {show_duration(objectives.rpo_s)}.",
        _improve(rounds, experiment, cell),
        table(HEAD, [tuple(map(cell, cells(each))) for each in rounds]) if rounds else "",
        _averages(rounds, objectives.rto_s),
        f"## Timeline\n\n```\n{redact(timeline)}\n```" if timeline else "",
        _nodes(rounds, cell),
        _probes(rounds, cell),
        _trend(before, objectives.rto_s, cell),
        f"Evidence: {cell(evidence)}. 'slipway drill recount' counts it again." if rounds else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _improve(rounds: Sequence[Round], experiment: Experiment, cell: Callable[[str], str]) -> str:
    found = improvements(rounds, experiment)
    return "## What to improve\n\n" + "\n".join(f"- {cell(each)}" for each in found) if found else ""


def _averages(rounds: Sequence[Round], objective_s: float) -> str:
    if len(rounds) < 2:
        return ""
    reads = spread([each.recovery_reads.rto_s or 0.0 for each in rounds])
    shown = _bars([(f"round {each.number}", each.rto_s, each.passed) for each in rounds], objective_s)
    return f"RTO of writes {spread([each.rto_s for each in rounds])}. Of reads and requests {reads}.\n\n{shown}"


def _bars(values: Sequence[tuple[str, float, bool]], objective_s: float) -> str:
    """Return times beside each other, below the objective, as lines of text."""
    rows = [("objective", objective_s, True), *values]
    widest, longest_s = max(len(name) for name, _, _ in rows), max(each for _, each, _ in rows)
    lines = [
        f"{name:<{widest}} {value_s:7.2f} s {'█' * round(_BAR * value_s / longest_s)}{'' if good else ' failed'}"
        for name, value_s, good in rows
    ]
    return "```\n" + "\n".join(lines) + "\n```"


def _nodes(rounds: Sequence[Round], cell: Callable[[str], str]) -> str:
    lines = []
    for one in rounds[-1:]:
        begin_s = one.moments.get("injected", 0.0)
        way = ", ".join(f"{node} at {at_s - begin_s:+.1f} s" for at_s, node in one.leaders)
        lines.append(f"Who took writes, from the fault: {cell(way)}." if way else "")
        hidden = ", ".join(f"{node} {silent_s:.1f} s" for node, silent_s in sorted(one.unseen_s.items()) if silent_s)
        if hidden:
            lines.append(f"Silent while another took writes, so that nobody knows what they did: {cell(hidden)}.")
    return "\n".join(line for line in lines if line)


def _probes(rounds: Sequence[Round], cell: Callable[[str], str]) -> str:
    if not rounds or not rounds[-1].probes:
        return ""
    rows = [(each.phase, cell(each.name), each.shown, cell(each.bounds)) for each in rounds[-1].probes]
    return "## Probes\n\n" + table(("phase", "probe", "seen", "had to be"), rows)


def _trend(before: Sequence[tuple[str, float, bool]], objective_s: float, cell: Callable[[str], str]) -> str:
    if not before:
        return ""
    found = spread([rto_s for _, rto_s, _ in before])
    shown = _bars([(cell(when), rto_s, passed) for when, rto_s, passed in before], objective_s)
    average = f"Average recovery time of the last {len(before)} drills: {found.mean_s:.1f} s." if found else ""
    return f"## Earlier drills, newest first\n\n{shown}\n\n{average}"
