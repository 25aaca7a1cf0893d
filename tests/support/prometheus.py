"""A private Prometheus, ended by its process id, and an exporter in this process that it scrapes."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import yaml
from prometheus_client import CollectorRegistry, start_http_server

from tests.support.needs import need
from tests.support.processes import free_port, running, wait_until


@contextlib.contextmanager
def exporter(registry: CollectorRegistry) -> Iterator[int]:
    """The registry's metrics are served on the yielded port of 127.0.0.1 for the length of a `with`."""
    port = free_port()
    server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def prometheus(
    folder: Path,
    *,
    targets: Mapping[str, int] | None = None,
    options: Sequence[str] = (),
    config: Mapping[str, object] | None = None,
    scrape_interval: str = "200ms",
) -> Iterator[str]:
    """Prometheus runs for the length of a `with`; yields its address. Not installed: a skip, in CI a failure.

    The first scrape comes about five seconds after the start, whatever the interval: share it between tests.

    Args:
        folder: for its data, configuration and log.
        targets: ports of 127.0.0.1 to scrape, by the name of the job.
        options: more command-line options.
        config: more top-level keys of its configuration.
        scrape_interval: how often the targets are asked.
    """
    program = need("prometheus")
    jobs = [
        {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        for name, port in (targets or {}).items()
    ]
    settings = {
        "global": {"scrape_interval": scrape_interval, "scrape_timeout": scrape_interval},
        "scrape_configs": jobs,
        **(config or {}),
    }
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(settings))
    address = f"127.0.0.1:{free_port()}"
    argv = [
        str(program),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'prometheus-data'}",
        f"--web.listen-address={address}",
        *options,
    ]
    with running(argv, log=folder / "prometheus.log") as process:

        def ready() -> bool:
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"http://{address}/-/ready", trust_env=False).is_success
            return False

        wait_until(ready, what="Prometheus being ready")
        yield f"http://{address}"
