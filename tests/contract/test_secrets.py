import contextlib
import http.server
import json
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import boto3
import pytest

from blocks.context import Context
from blocks.secrets import Secrets
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.redaction import MASK
from tests.support.needs import missing
from tests.support.prefect_server import flows_of
from tests.support.processes import free_port, listens, running, wait_until

VALUE = "correct-horse-battery"


@dataclass(frozen=True)
class Place:
    """One kind of reference: how a value gets there, and what it is called then."""

    put: Callable[[str], str]
    missing: str


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    log = tmp_path_factory.mktemp("aws") / "log"
    program = Path(sys.executable).parent / "moto_server"
    if not program.exists():
        missing("moto_server is not installed here")
    with running([str(program), "-H", "127.0.0.1", "-p", str(port)], log=log):
        wait_until(lambda: listens(port), what="moto's server")
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def aws_environment(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


@pytest.fixture(scope="module")
def prefect_server(prefect_api: str) -> Iterator[None]:
    with flows_of(prefect_api):
        yield


@pytest.fixture(
    params=[
        "env",
        "file",
        pytest.param("aws", marks=pytest.mark.server),
        pytest.param("prefect", marks=[pytest.mark.server, pytest.mark.slow]),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    match request.param:
        case "env":
            return Place(lambda value: _put_variable(monkeypatch, value), "env:SLIPWAY_TEST_MISSING")
        case "file":
            return Place(lambda value: _put_file(tmp_path, value), f"file:{tmp_path}/missing")
        case "aws":
            request.getfixturevalue("aws_environment")
            return Place(lambda value: put_aws(json.dumps({"key": value})), "aws-secret:missing#key")
        case _:
            request.getfixturevalue("prefect_server")
            return Place(_put_prefect, "prefect-secret:missing")


def _put_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> str:
    monkeypatch.setenv("SLIPWAY_TEST", value)
    return "env:SLIPWAY_TEST"


def _put_file(folder: Path, value: str) -> str:
    (folder / "secret").write_bytes(value.encode())
    return f"file:{folder}/secret"


def put_aws(document: str) -> str:
    client = boto3.Session().client("secretsmanager")
    with contextlib.suppress(client.exceptions.ResourceNotFoundException):
        client.delete_secret(SecretId="prod/db", ForceDeleteWithoutRecovery=True)
    client.create_secret(Name="prod/db", SecretString=document)
    return "aws-secret:prod/db#key"


def _put_prefect(value: str) -> str:
    from prefect.blocks.system import Secret

    Secret(value=value).save("slipway-test", overwrite=True, _sync=True)  # type: ignore[call-arg]
    return "prefect-secret:slipway-test"


def chain(error: BaseException) -> str:
    """Return everything that a traceback of the error, or a look at its fields, would show."""
    shown = ""
    while error is not None:
        shown += f"{error}\n{vars(error)}\n{error.args}\n"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)  # type: ignore[assignment]
    return shown


@pytest.mark.parametrize("value", [VALUE, f" {VALUE} ", "1e5000", "café ☃ €", '{"a": 1}', "first line\nsecond line"])
def test_a_value_comes_back_as_it_was_put(place: Place, value: str) -> None:
    assert Secrets().resolve(place.put(value)) == value


def test_line_ends_at_the_end_are_no_part_of_a_value(place: Place) -> None:
    assert Secrets().resolve(place.put(VALUE + "\r\n")) == VALUE


def test_a_resolved_value_is_redacted_ever_after(place: Place) -> None:
    secrets = Secrets()
    assert secrets.redact(f"it is {VALUE}") == f"it is {VALUE}"
    secrets.resolve(place.put(VALUE))
    assert secrets.redact(f"it is {VALUE}") == f"it is {MASK}"


def test_a_missing_secret_is_refused_by_its_reference(place: Place) -> None:
    with pytest.raises(Refused) as caught:
        Secrets().resolve(place.missing)
    assert caught.value.on == place.missing
    assert caught.value.next_action


@pytest.mark.parametrize("value", ["\n", " \n"])
def test_an_empty_secret_is_refused(place: Place, value: str) -> None:
    with pytest.raises(Refused, match="empty"):
        Secrets().resolve(place.put(value))


@pytest.mark.parametrize("reference", [VALUE, f"vault:{VALUE}", "env:", "", f"aws-secret:{VALUE}"])
def test_what_is_no_reference_is_refused_and_not_repeated(reference: str) -> None:
    with pytest.raises(Refused) as caught:
        Secrets().resolve(reference)
    assert VALUE not in chain(caught.value)


def test_a_relative_file_starts_from_the_estate_files_folder(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text(VALUE)
    assert Context(base=tmp_path).secrets.resolve("file:dsn") == VALUE
    assert Context(base=tmp_path / "elsewhere", secrets=Secrets(tmp_path)).secrets.resolve("file:dsn") == VALUE


def test_contexts_made_from_one_another_share_their_secrets(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text(VALUE)
    first = Context(base=tmp_path)
    second = replace(first, path=("/usr/bin",))
    first.secrets.resolve("file:dsn")
    assert second.secrets.redact(VALUE) == MASK


def test_a_pickled_copy_carries_no_value(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text(VALUE)
    context = Context(base=tmp_path)
    context.secrets.resolve("file:dsn")
    data = pickle.dumps(context)
    assert VALUE.encode() not in data
    assert pickle.loads(data).secrets.resolve("file:dsn") == VALUE


def _make_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (Path.mkdir, "is no file"),
        (_make_pipe, "is no file"),
        (lambda path: path.write_bytes(VALUE.encode() + b"\xff"), "is no UTF-8 text"),
        (lambda path: path.write_text(VALUE * 60_000), "is larger than 1 MiB"),
        (lambda path: path.symlink_to(path), "cannot be read"),
    ],
    ids=["folder", "pipe", "binary", "large", "loop"],
)
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, make: Callable[[Path], object], problem: str) -> None:
    make(tmp_path / "secret")
    with pytest.raises(Refused, match=problem) as caught:
        Secrets(tmp_path).resolve("file:secret")
    assert VALUE not in chain(caught.value)


@pytest.mark.server
@pytest.mark.usefixtures("aws_environment")
@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (VALUE, "no JSON object"),
        (json.dumps([VALUE]), "no JSON object"),
        (json.dumps(f"key {VALUE}"), "no JSON object"),
        (json.dumps({"other": VALUE}), "no such key"),
        (json.dumps({"key": None}), "no value"),
        (json.dumps({"key": [VALUE]}), "no text"),
        (json.dumps({"key": True}), "no text"),
    ],
)
def test_an_aws_secret_of_the_wrong_shape_is_refused_without_its_text(document: str, problem: str) -> None:
    reference = put_aws(document)
    with pytest.raises(Refused, match=problem) as caught:
        Secrets().resolve(reference)
    assert VALUE not in chain(caught.value)


@pytest.mark.server
@pytest.mark.usefixtures("aws_environment")
def test_a_number_in_an_aws_secret_is_returned_as_text() -> None:
    assert Secrets().resolve(put_aws(json.dumps({"key": 5432}))) == "5432"


@pytest.mark.server
@pytest.mark.usefixtures("aws_environment")
@pytest.mark.parametrize("variable", ["AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID"])
def test_aws_without_its_settings_is_refused(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(Refused, match="cannot be asked"):
        Secrets().resolve("aws-secret:prod/db#key")


@pytest.fixture
def failing_server(request: pytest.FixtureRequest) -> Iterator[str]:
    code: str = request.param

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.dumps({"__type": code, "message": "no"}).encode()
            self.send_response(500 if code == "InternalServiceError" else 400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.server
@pytest.mark.usefixtures("aws_environment")
@pytest.mark.parametrize(
    ("failing_server", "meaning"),
    [("InternalServiceError", Retryable), ("ThrottlingException", Retryable), ("AccessDeniedException", Refused)],
    indirect=["failing_server"],
)
def test_only_an_aws_that_is_busy_may_be_asked_again(
    failing_server: str, meaning: type[SlipwayError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", failing_server)
    with pytest.raises(meaning):
        Secrets().resolve("aws-secret:prod/db#key")


@pytest.mark.server
@pytest.mark.usefixtures("aws_environment")
def test_an_aws_that_cannot_be_reached_may_be_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Retryable, match="did not answer"):
        Secrets().resolve("aws-secret:prod/db#key")


def test_a_prefect_server_that_cannot_be_reached_may_be_asked_again() -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}),
        pytest.raises(Retryable, match="did not answer"),
    ):
        Secrets().resolve("prefect-secret:missing")


@pytest.mark.server
@pytest.mark.slow
def test_a_prefect_secret_that_is_a_mapping_is_refused_without_its_text(prefect_server: None) -> None:
    from prefect.blocks.system import Secret

    Secret(value={"password": VALUE}).save("slipway-mapping", overwrite=True, _sync=True)  # type: ignore[call-arg]
    with pytest.raises(Refused, match="no text") as caught:
        Secrets().resolve("prefect-secret:slipway-mapping")
    assert VALUE not in chain(caught.value)
