"""The service file: accepted as documented, and every mistake told with its line, what was found, what is expected."""

import textwrap

import pytest

from tasks.common.errors import Refused
from tasks.common.load import load_service
from tasks.common.service import BlueGreen, Canary, Rolling
from tests.unit.common.files import EXAMPLES, SERVICE_EXAMPLES, example, line_of, only, service_mistakes

TEN_MISTAKES = textwrap.dedent("""\
    service: Campus
    biuld:
      command: [make]
    test:
      steps:
        - name: unit
          command: pytest -q
          timeout: 300
    scan:
      - {tool: bandit, command: [bandit, -r, campus]}
    run:
      command: [python, -m, campus]
      env:
        WORKERS: 4
      drain: 20s
      drain: 15s
      probes:
        liveness: {path: /health/live}
    smoke:
      - {path: /health/ready, expect: 200}
    metrics:
      errors: {query: "100 * bad / all", unit: percent}
    promotion:
      strategy: canary
      stages:
        - {weight: 5%, soak: 1h, checks: [{metric: error, at_most: 1%}]}
        - {weight: 100%, soak: 1h, checks: [{metric: errors, at_most: 1}]}
    validation:
      limits: [{metric: errors, at_most: 5%}]
      critical_features: [{path: /api/v1/courses, expect: 200}]
    """)

TEN_LINES = """\
Refused: slipway.yaml has 10 mistakes
  on:       campus/slipway.yaml
  state:    nothing was changed
  next:     correct what is listed, then run the same command again (docs/reference/service-file.md explains every key)
  mistakes: slipway.yaml:1: service: found the text 'Campus'; expected a name: 2 to 40 lower-case letters, digits \
and dashes, a letter first and no dash last
            slipway.yaml:2: biuld: found an unknown key (did you mean 'build'?); expected one of: service, \
description, build, test, scan, accepted_findings, run, smoke, end_to_end, metrics, analysis, promotion, approval, \
validation, migrations, gates
            slipway.yaml:7: test.steps[0].command: found the text 'pytest -q'; expected a list: each item on a \
line of its own after '- ', or [first, second]
            slipway.yaml:8: test.steps[0].timeout: found the number 300; expected a duration above zero with its \
unit, such as 30s, 5m or 1h, up to 366d
            slipway.yaml:10: scan[0].command: found no '{output}'; expected '{output}' where the report's path \
belongs, or 'report: stdout'
            slipway.yaml:14: run.env.WORKERS: found the number 4; expected text: write it in quotes, "4"
            slipway.yaml:16: run.drain: found the key a second time (first in line 15); expected it once
            slipway.yaml:17: run.probes.readiness: found nothing; expected this key (asks whether the instance may \
get traffic)
            slipway.yaml:26: promotion.stages[0].checks[0].metric: found the unknown metric 'error' (did you mean \
'errors'?); expected one of: errors
            slipway.yaml:27: promotion.stages[1].checks[0].at_most: found the number 1; expected a percentage from \
0% to 100%, such as 0.1% (the unit of errors is percent)"""


@pytest.mark.parametrize(
    ("name", "strategy"), [("slipway.yaml", Canary), ("blue-green.yaml", BlueGreen), ("rolling.yaml", Rolling)]
)
def test_documented_example_is_accepted(name: str, strategy: type) -> None:
    file = load_service(example(name), name)
    assert isinstance(file.promotion, strategy)


def test_documented_examples_are_all_of_the_folder() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == {
        *SERVICE_EXAMPLES,
        "estate.yaml",
        "migrations",
        "mongodb",
        "operations",
        "partitioned",
        "repartitioned",
        "failover.yaml",
        "masking.yaml",
        "expectations",
        "drills",
    }


def test_full_example_means_what_it_says() -> None:
    file = load_service(example("slipway.yaml"), "slipway.yaml")
    assert isinstance(file.promotion, Canary)
    assert [stage.weight for stage in file.promotion.stages] == [0.1, 1, 5, 25, 100]
    assert [stage.soak_s for stage in file.promotion.stages] == [3600, 14400, 86400, 172800, 0]
    assert file.promotion.stages[4].checks == file.promotion.stages[3].checks
    assert file.run.resources.memory_bytes == 512 * 2**20
    assert file.run.probes.start_delay_s == 0.5
    assert [place for place, _ in file.checks()][:4] == [
        "analysis.rollback_when_not.0",
        "analysis.rollback_when_not.1",
        "analysis.rollback_when_not.2",
        "validation.limits.0",
    ]


def test_loaded_file_survives_json() -> None:
    file = load_service(example("slipway.yaml"), "slipway.yaml")
    assert type(file).model_validate_json(file.model_dump_json()) == file


def test_ten_mistakes_are_told_at_once_in_a_block_that_a_person_can_read() -> None:
    with pytest.raises(Refused) as caught:
        load_service(TEN_MISTAKES, "campus/slipway.yaml")
    assert str(caught.value) == TEN_LINES


REPORTS = "metric: user_reports, at_most: 10"
THIRD = "analysis.rollback_when_not[2]"
COMMAND = "command: [python, -m, campus]"
DURATION = "expected a duration with its unit, such as 30s, 5m or 1h, up to 366d"

CHANGES = [
    ("expect: 401", "expect: '401'", "smoke[1].expect", "found the text '401'; expected a whole number"),
    ("expect: 401", "expect: 40.5", "smoke[1].expect", "found the number 40.5; expected a whole number"),
    ("expect: 401", "expect: 7", "smoke[1].expect", "found the number 7; expected at least 100"),
    ("expect: 401", "expect: 700", "smoke[1].expect", "found the number 700; expected at most 599"),
    ("expect: 401", "expect:", "smoke[1].expect", "found nothing; expected a whole number"),
    ("method: POST", "method: PSOT", "smoke[2].method", "found the text 'PSOT' (did you mean 'POST'?); expected one"),
    ("contains: error", "contains: ''", "smoke[2].contains", "found empty text; expected text that is not empty"),
    ("drain: 15s", "drain: 15", "run.drain", f"found the number 15; {DURATION}"),
    ("drain: 15s", "drain: 15 seconds", "run.drain", f"found the text '15 seconds'; {DURATION}"),
    ("drain: 15s", "drain: 999d", "run.drain", f"found the text '999d'; {DURATION}"),
    ("drain: 15s", "drain: {a: 1}", "run.drain", f"found a mapping; {DURATION}"),
    ("drain: 15s", "drain_s: 15s", "run.drain_s", "found an unknown key (did you mean 'drain'?); expected one of: "),
    (
        "ready_within: 1m",
        "ready_within: 0s",
        "run.probes.ready_within",
        "found the text '0s'; expected a duration above",
    ),
    (
        "at_least: 80%",
        "at_least: 80",
        "test.coverage.at_least",
        "found the number 80; expected a percentage from 0% to",
    ),
    ("at_least: 80%", "at_least: 800%", "test.coverage.at_least", "found the text '800%'; expected a percentage from"),
    (
        "memory: 512MiB",
        "memory: 512M",
        "run.resources.memory",
        "found the text '512M'; expected a size above zero with",
    ),
    ("open_files: 1024", "open_files: 0x400", "run.resources.open_files", "found the text '0x400'; expected a whole"),
    (
        "open_files: 1024",
        "open_files: yes",
        "run.resources.open_files",
        "found the text 'yes'; expected a whole number",
    ),
    ("open_files: 1024", "open_files: true", "run.resources.open_files", "found true; expected a whole number"),
    ("CAMPUS_LOG_LEVEL: info", "ON: true", "run.env.ON", 'found true; expected text: write it in quotes, "true"'),
    ("CAMPUS_LOG_LEVEL: info", "A-B: info", "run.env.A-B", "found the key 'A-B'; expected the name of an environment"),
    ("port_variable: PORT", "port_variable: 1P", "run.port_variable", "found the text '1P'; expected the name of an"),
    (COMMAND, "command: []", "run.command", "found an empty list; expected 1 or more items"),
    (COMMAND, "command: ['']", "run.command", "found a list; expected the program's name as the first item"),
    (
        "findings_exit: [0]",
        "findings_exit: [256]",
        "scan[1].findings_exit[0]",
        "found the number 256; expected at most",
    ),
    ("description: courses, enrolments and grades", "description: [a]", "description", "found a list; expected text"),
    (
        "strategy: canary",
        "strategy: canari",
        "promotion.strategy",
        "found the text 'canari' (did you mean 'canary'?); ex",
    ),
    ("weight: 1%", "weight: 0.1%", "promotion.stages[1].weight", "found 0.1%; expected more than the 0.1% before it"),
    ("weight: 0.1%", "weight: 0%", "promotion.stages[0].weight", "found 0%; expected more than the 0% before it"),
    ("weight: 100%", "weight: 99%", "promotion.stages[4].weight", "found 99%; expected 100%, as it is the last stage"),
    (
        REPORTS,
        REPORTS + "s",
        f"{THIRD}.at_most",
        "found the text '10s'; expected a plain number, as the metric counts (t",
    ),
    (
        REPORTS,
        REPORTS + "%",
        f"{THIRD}.at_most",
        "found the text '10%'; expected a plain number, as the metric counts (t",
    ),
    (REPORTS, "metric: p95, at_most: 10", f"{THIRD}.at_most", f"found the number 10; {DURATION} (the unit of p95 is s"),
    (REPORTS, "metric: p95, at_most: [1]", f"{THIRD}.at_most", "found a list; expected text or a number"),
    (
        REPORTS,
        "metric: p99, at_most: 10s",
        f"{THIRD}.metric",
        "found the unknown metric 'p99' (did you mean 'p95'?); exp",
    ),
    (
        REPORTS,
        "metric: p95",
        THIRD,
        "found a check without a bound; expected exactly one of: at_most, at_least, at_most",
    ),
    (REPORTS, REPORTS + ", at_least: 1", THIRD, "found at_most and at_least; expected exactly one of: at_most, at_le"),
    (
        "at_least_times_stable: 1.0",
        "at_least_times_stable: 0",
        "promotion.stages[2].checks[1].at_least_times_stable",
        "f",
    ),
]


@pytest.mark.parametrize(("old", "new", "place", "said"), CHANGES, ids=[new for _, new, _, _ in CHANGES])
def test_one_mistake_is_told_alone_at_its_line(old: str, new: str, place: str, said: str) -> None:
    line = line_of(example("slipway.yaml"), old)
    assert only(service_mistakes(example("slipway.yaml", (old, new)))).startswith(f"{line}: {place}: {said}")


def test_misspelt_key_is_unknown_and_the_right_one_is_missing() -> None:
    unknown, missing = sorted(
        service_mistakes(example("rolling.yaml", ("service: campus", "sevice: campus"))), reverse=True
    )
    assert "sevice: found an unknown key (did you mean 'service'?); expected one of: service, description," in unknown
    assert missing.startswith("1: service: found nothing; expected this key (the service's name")


def test_promotion_without_a_strategy_is_one_mistake_at_the_promotion() -> None:
    text = example("rolling.yaml", ("  strategy: rolling\n", ""))
    line = line_of(text, "promotion:")
    assert only(service_mistakes(text)) == f"{line}: promotion.strategy: found nothing; expected this key"


def test_missing_key_is_told_with_its_meaning_at_what_it_is_missing_from() -> None:
    text = example("blue-green.yaml", ("    readiness: {path: /health/ready}\n", ""))
    said = "run.probes.readiness: found nothing; expected this key (asks whether the instance may get traffic)"
    assert only(service_mistakes(text)) == f"{line_of(text, 'probes:')}: {said}"


def test_gradual_steps_must_rise_and_leave_something_for_the_end() -> None:
    weights = ", ".join(f"{{weight: {weight}%, soak: 1m}}" for weight in (50, 20, 100))
    steps = f"shift: gradual\n  steps: [{weights}]\n  checks"
    found = service_mistakes(
        example("blue-green.yaml", ("strategy: blue-green\n  checks", f"strategy: blue-green\n  {steps}"))
    )
    assert [each.partition(": ")[2] for each in found] == [
        "promotion.steps[1].weight: found 20%; expected more than the 50% before it",
        "promotion.steps[2].weight: found 100%; expected less than 100%, which follows the last step",
    ]


def test_steps_that_would_be_ignored_are_a_mistake() -> None:
    text = example(
        "blue-green.yaml", ("strategy: blue-green", "strategy: blue-green\n  steps: [{weight: 5%, soak: 1m}]")
    )
    assert "promotion.steps: found steps for an instant shift; expected 'shift: gradual'" in only(
        service_mistakes(text)
    )


def test_rolling_that_could_never_replace_anything_is_a_mistake() -> None:
    text = example("rolling.yaml", ("max_surge: 25%", "max_surge: 0%"), ("max_unavailable: 10%", "max_unavailable: 0%"))
    assert "promotion.max_unavailable: found 0%; expected more than 0%" in only(service_mistakes(text))


def test_scanner_that_is_not_told_where_to_report_is_a_mistake() -> None:
    text = example("blue-green.yaml", (', "{output}"', ""))
    assert "scan[0].command: found no '{output}'" in only(service_mistakes(text))


def test_mistakes_between_sound_parts_are_told_beside_mistakes_in_other_parts() -> None:
    text = example(
        "slipway.yaml",
        ("drain: 15s", "drain: 15"),
        ("weight: 100%", "weight: 90%"),
        ("metric: user_reports, at_most: 10", "metric: user_reports, at_most: 10%"),
        ("unit: seconds", "unit: second"),
    )
    assert [each.split(": ")[1] for each in service_mistakes(text)] == [
        "run.drain",
        "metrics.p95.unit",
        "analysis.rollback_when_not[2].at_most",
        "promotion.stages[4].weight",
    ]


def test_order_of_stages_is_judged_even_when_a_stage_has_another_mistake() -> None:
    changes = (("soak: 4h", "soak: 4"), ("weight: 5%", "weight: 0.5%"), ("weight: 100%", "weight: 99%"))
    assert [each.split(": ")[1] for each in service_mistakes(example("slipway.yaml", *changes))] == [
        "promotion.stages[1].soak",
        "promotion.stages[2].weight",
        "promotion.stages[4].weight",
    ]


def test_order_of_stages_is_not_judged_when_a_weight_is_none() -> None:
    text = example("slipway.yaml", ("weight: 5%", "weight: 5"), ("weight: 100%", "weight: 99%"))
    assert "promotion.stages[2].weight: found the number 5" in only(service_mistakes(text))


def test_check_of_a_metric_with_mistakes_of_its_own_is_not_called_unknown() -> None:
    text = example("rolling.yaml", ("unit: seconds", "unit: minutes"))
    assert "metrics.p95.unit" in only(service_mistakes(text))


@pytest.mark.parametrize("value", ["no", "off", "22:22", "0755", "1_000", "2024-01-01", "0x1F", ".inf", "1e999", "y"])
def test_text_that_yaml_would_turn_into_something_else_stays_text(value: str) -> None:
    file = load_service(example("slipway.yaml").replace("CAMPUS_LOG_LEVEL: info", f"VALUE: {value}"), "slipway.yaml")
    assert file.run.env["VALUE"] == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1: the file: found nothing; expected a mapping"),
        ("# nothing\n", "1: the file: found nothing; expected a mapping"),
        ("- service: campus\n", "1: the file: found a list; expected a mapping"),
        ("service:campus\n", "1: the file: found the text 'service:campus'; expected a mapping"),
    ],
)
def test_file_that_is_no_mapping_is_one_mistake(text: str, said: str) -> None:
    assert only(service_mistakes(text)).startswith(said)


def test_promotion_that_is_no_mapping_is_one_mistake() -> None:
    text = example("rolling.yaml")
    text = text[: text.index("promotion:")] + "promotion: rolling\n\n" + text[text.index("validation:") :]
    assert "promotion: found the text 'rolling'; expected a mapping" in only(service_mistakes(text))


def test_of_more_mistakes_than_anybody_reads_the_rest_is_counted() -> None:
    text = example("slipway.yaml", ("CAMPUS_LOG_LEVEL: info", "\n    ".join(f"V{n}: {n}" for n in range(250))))
    with pytest.raises(Refused) as caught:
        load_service(text, "slipway.yaml")
    lines = str(caught.value.facts["mistakes"]).splitlines()
    assert caught.value.what == "slipway.yaml has 250 mistakes"
    assert len(lines) == 201
    assert lines[-1] == "... and 50 more"


def test_mistake_in_what_an_alias_stands_for_is_told_for_every_use_at_the_line_to_change() -> None:
    text = example("slipway.yaml", ("at_most_times_stable: 1.2", "at_most_times_stable: 0"))
    line = line_of(text, "at_most_times_stable: 0")
    assert [each.partition(";")[0] for each in service_mistakes(text)] == [
        f"{line}: promotion.stages[{n}].checks[1].at_most_times_stable: found the number 0" for n in (3, 4)
    ]
