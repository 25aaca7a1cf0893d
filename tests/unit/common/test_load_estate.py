"""The estate file: drivers and their settings are checked in the same pass, and no secret is ever repeated."""

import pickle
import traceback

import pytest

from tasks.common.errors import Refused
from tasks.common.load import load_estate
from tests.unit.common.files import (
    estate_mistakes,
    example,
    line_of,
    load_example_estate,
    only,
    settings_models,
)


def test_documented_example_is_accepted() -> None:
    estate = load_example_estate(example("estate.yaml"))
    assert estate.environments["production"].promotes_from == "staging"
    assert estate.environments["production"].env == {"CAMPUS_MAIL": "off"}
    assert estate.ledger.settings == {"dsn": "env:SLIPWAY_LEDGER"}
    assert estate.environments["staging"].pace.soak_at_most_s == 10


CHANGES = [
    (
        "  driver: postgresql",
        "  driver: postgres",
        "ledger.driver",
        "found the text 'postgres' (did you mean 'postgresql'?);",
    ),
    ("  driver: postgresql", "  driver: 5", "ledger.driver", "found the number 5; expected text: write it in quotes"),
    ("folder: artifacts", "folder: ''", "store.folder", "found empty text; expected text that is not empty"),
    ("folder: artifacts", "folder: 5", "store.folder", 'found the number 5; expected text: write it in quotes, "5"'),
    ("promotes_from: staging", "promotes_from: stagin", "environments.production.promotes_from", "found the unknown"),
    (
        "promotes_from: staging",
        "promotes_from: production",
        "environments.production.promotes_from",
        "found a circle: p",
    ),
    (
        "  production:",
        "  Production:",
        "environments.Production",
        "found the key 'Production'; expected a name: 2 to 40",
    ),
    ("keep_releases: 10", "keep_releases: 1", "keep_releases", "found the number 1; expected at least 2"),
    (
        "mirror: mirrors",
        "repository: ../campus",
        "source.repository",
        "found a key that does not belong here; expected",
    ),
    (
        "url: http://127.0.0.1:8080",
        "url: 127.0.0.1",
        "environments.staging.url",
        "found the text '127.0.0.1'; expected an",
    ),
    (
        "blue: [21001]",
        "blue: ['21001']",
        "environments.staging.runtime.ports.campus.blue[0]",
        "found the text '21001'; ex",
    ),
    (
        'CAMPUS_MAIL: "off"',
        "CAMPUS_MAIL: 0",
        "environments.production.env.CAMPUS_MAIL",
        "found the number 0; expected te",
    ),
    ("replicas: 3", "replicas: 0", "environments.production.replicas", "found the number 0; expected at least 1"),
    (
        "repository: ../campus",
        "repository: ''",
        "services.campus.repository",
        "found empty text; expected text that is",
    ),
]


@pytest.mark.parametrize(("old", "new", "place", "said"), CHANGES, ids=[new for _, new, _, _ in CHANGES])
def test_one_mistake_is_told_alone_at_its_line(old: str, new: str, place: str, said: str) -> None:
    line = line_of(example("estate.yaml"), old)
    assert only(estate_mistakes(example("estate.yaml", (old, new)))).startswith(f"{line}: {place}: {said}")


def test_unknown_driver_is_told_with_the_known_ones() -> None:
    text = example("estate.yaml", ("driver: folder", "driver: ftp"))
    line = line_of(text, "driver: ftp")
    assert (
        only(estate_mistakes(text)) == f"{line}: store.driver: found the text 'ftp'; expected one of: folder, s3, share"
    )


def test_unknown_driver_is_a_mistake_even_when_nobody_says_which_are_known() -> None:
    with pytest.raises(Refused) as caught:
        load_estate(example("estate.yaml", ("driver: folder", "driver: ftp")), "lab.yaml", settings_models)
    assert "store.driver: found the text 'ftp'; expected a driver of the port store" in str(caught.value)


def test_settings_that_contradict_each_other_are_told_at_the_driver() -> None:
    text = example("estate.yaml", ("blue: [21001]", "blue: [21002]"))
    said = "environments.staging.runtime: found values that do not fit together; expected every port once"
    assert only(estate_mistakes(text)) == f"{line_of(text, 'staging:') + 2}: {said}"


def test_bound_on_a_quantity_is_told_in_the_words_of_the_file() -> None:
    text = example(
        "estate.yaml", ("driver: folder\n  folder: artifacts", "driver: s3\n  bucket: lab\n  part_size: 1MiB")
    )
    assert only(estate_mistakes(text)).endswith("store.part_size: found the text '1MiB'; expected at least 5MiB")


def test_mistakes_of_the_file_and_of_every_driver_are_told_at_once() -> None:
    text = example(
        "estate.yaml",
        ("dsn: env:SLIPWAY_LEDGER", "dns: env:SLIPWAY_LEDGER"),
        ("folder: artifacts", "folders: artifacts"),
        ("promotes_from: staging", "promotes_from: nowhere"),
        ("replicas: 3", "replicas: three"),
        ("green: [21002]", "green: 21002"),
    )
    assert [each.split(": ")[1] for each in estate_mistakes(text)] == [
        "ledger.dsn",
        "ledger.dns",
        "store.folder",
        "store.folders",
        "environments.staging.runtime.ports.campus.green",
        "environments.production.promotes_from",
        "environments.production.replicas",
    ]


def test_database_that_names_an_unknown_backup_plan_is_told() -> None:
    database = "    databases: {campus: {connection: {driver: postgresql, address: 'env:A'}, backup: campus-dbs}}\n"
    (mistake,) = estate_mistakes(example("estate.yaml", ("    promotes_from", f"{database}    promotes_from")))
    assert "environments.production.databases.campus.backup: found the unknown plan 'campus-dbs' (did you" in mistake


def test_circle_of_environments_is_told_at_each_of_them() -> None:
    text = example("estate.yaml", ("    replicas: 1\n", "    replicas: 1\n    promotes_from: production\n"))
    assert [each.partition(": ")[2].removeprefix("environments.") for each in estate_mistakes(text)] == [
        "staging.promotes_from: found a circle: staging from production from staging; expected a way that ends",
        "production.promotes_from: found a circle: production from staging from production; expected a way that ends",
    ]


SECRET = "hunter2-hunter2"
PASTED = [
    ("dsn: env:SLIPWAY_LEDGER", f"dsn: postgresql://slipway:{SECRET}@db/ledger"),
    ("dsn: env:SLIPWAY_LEDGER", f"dsn: [{SECRET}]"),
    ("dsn: env:SLIPWAY_LEDGER", f"dsn: {{value: {SECRET}}}"),
    ("dsn: env:SLIPWAY_LEDGER", f'dsn: "env:A\\n{SECRET}"'),
    ("dsn: env:SLIPWAY_LEDGER", f"dsn: !!str {SECRET}"),
    ("dsn: env:SLIPWAY_LEDGER", f'dsn: "{SECRET}'),
    ("dsn: env:SLIPWAY_LEDGER", f'dsn: "{SECRET}\\0"'),
    ("dsn: env:SLIPWAY_LEDGER", f"dsn: env:A\n  password: {SECRET}"),
    ("DATABASE_URL: file:secrets/staging-database-url", f"DATABASE_URL: {SECRET}"),
    ("DATABASE_URL: env:CAMPUS_TEST_DATABASE_URL", f"DATABASE_URL: {SECRET}"),
    ("tools: [/usr/local/bin]", f"tools: https://slipway:{SECRET}@example.org"),
    ("folder: artifacts", f"folder: artifacts\n  api_token: {SECRET}"),
    ("driver: folder\n  folder: artifacts", f"driver: share\n  address: {SECRET}"),
    ("driver: folder\n  folder: artifacts", f"driver: share\n  address: [{SECRET}]"),
    ("replicas: 3", f"replicas: AKIAABCDEFGHIJKLMNOP # {SECRET}"),
]


@pytest.mark.parametrize(("old", "new"), PASTED, ids=[f"{number}" for number in range(len(PASTED))])
def test_secret_that_was_pasted_into_the_file_is_refused_without_being_repeated(old: str, new: str) -> None:
    with pytest.raises(Refused) as caught:
        load_example_estate(example("estate.yaml", (old, new)))
    error = caught.value
    everything = (
        "".join(traceback.format_exception(error)) + repr(error.__dict__) + pickle.dumps(error).decode("latin-1")
    )
    assert SECRET not in everything
    assert "AKIAABCDEFGHIJKLMNOP" not in everything
    assert error.__context__ is None, "what was being handled would be printed, too"


@pytest.mark.parametrize("key", ["password", "api_key", "SESSION_TOKEN", "clientSecret", "credentials", "private_key"])
def test_value_under_a_key_that_looks_like_a_secret_is_not_repeated(key: str) -> None:
    said = only(estate_mistakes(example("estate.yaml", ('CAMPUS_MAIL: "off"', f"{key}: 123456"))))
    assert "found a value that is not shown, as it may be a secret; expected text" in said
    assert "123456" not in said


@pytest.mark.parametrize("reference", ["env:A", "file:/run/x", "prefect-secret:a-b", "aws-secret:a/b#KEY"])
def test_reference_to_a_secret_is_accepted(reference: str) -> None:
    estate = load_example_estate(example("estate.yaml", ("env:SLIPWAY_LEDGER", f'"{reference}"')))
    assert estate.ledger.settings == {"dsn": reference}


@pytest.mark.parametrize(
    "reference", ["env:", "env:1A", "env:A\\n", "file:", "vault:a", "aws-secret:a", "ENV:A", " env:A"]
)
def test_reference_to_nowhere_is_refused(reference: str) -> None:
    said = only(estate_mistakes(example("estate.yaml", ("env:SLIPWAY_LEDGER", f'"{reference}"'))))
    assert "expected a reference to a secret: env:NAME, file:PATH, prefect-secret:NAME or aws-secret:NAME#KEY" in said


def test_value_that_yaml_cannot_give_is_told_once() -> None:
    text = example("estate.yaml", ("replicas: 3", "replicas: !!int 3"))
    assert "environments.production.replicas: found the tag 'tag:yaml.org,2002:int'" in only(estate_mistakes(text))


def test_settings_arrive_as_the_file_has_them() -> None:
    text = example("estate.yaml", ("driver: haproxy", "driver: haproxy\n      maintenance: no\n      window: 22:22"))
    router = load_example_estate(text).environments["production"].router
    assert router.settings.items() >= {"maintenance": "no", "window": "22:22"}.items()
