"""``doorway serve``."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import click


@click.command(epilog="Example: doorway serve --database sqlite:///doorway.db --http 127.0.0.1:8080")
@click.option("--database", metavar="URL", help="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.")
@click.option("--http", "http_address", metavar="HOST:PORT", help="Where the FHIR API and the console listen.")
@click.option("--mllp", "mllp_address", metavar="HOST:PORT", help="Where the HL7 v2 listener listens.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="Settings in TOML.")
@click.option("--json", "as_json", is_flag=True, help="Say what listens as one JSON object.")
def serve(
    database: str | None, http_address: str | None, mllp_address: str | None, config: str | None, as_json: bool
) -> None:
    """FHIR API at /fhir, console at /, MLLP listeners and workers, until SIGINT or SIGTERM.

    The database is brought up to date first. Settings come from --config, then DOORWAY_<NAME> variables, then these
    options. /livez says that the process runs, /readyz that it can do its work, /metrics counts for Prometheus.
    With http_tls_certificate the API speaks TLS only. Port 0 takes a free port; the line on stdout says which.
    Exit codes: 0 stopped as asked, 1 could not start.
    """
    with _nothing_collected():
        from gateway.adapters.http.server import run
        from gateway.settings import read_settings

        settings = read_settings(config, database_url=database, http_address=http_address, mllp_address=mllp_address)
        from gateway import wiring
        from gateway.adapters.http.tls import server_context

        tls = server_context(settings.http_tls_certificate, settings.http_tls_key, settings.http_tls_client_authority)
        scheme = "https" if tls is not None else "http"
        store = wiring.open_store(settings, may_rebuild=True)
        beside = wiring.services(settings, store)
        built = wiring.build_app(settings, store, beside)
    started: list[wiring.Service] = []
    try:
        said = []
        for service in beside:
            said.append(service.start())
            started.append(service)

        def announce(address: str) -> None:
            lines = [f"{scheme} on {address}", *(line for line in said if line)]
            if as_json:
                import json

                click.echo(json.dumps({"fhir": f"{scheme}://{address}/fhir", "listening": lines}))
            else:
                click.echo("doorway: " + ", ".join(lines) + f"; FHIR at {scheme}://{address}/fhir")

        run(
            built.app,
            settings.http_address,
            receive_timeout_s=settings.http_receive_timeout_s,
            announce=announce,
            tls=tls,
        )
    finally:
        for service in reversed(started):
            service.stop()
        built.close()


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """What a start builds stays until the end: looking for garbage in it, then or later, only costs time."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
