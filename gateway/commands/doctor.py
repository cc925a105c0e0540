"""``doorway doctor``: what would stop this installation, found before a message is lost to it."""

import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from gateway.settings import Settings

FREE_WANTED_BYTES: Final = 2 * 1024**3
FSYNC_SLOW_MS: Final = 20.0

Verdict = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, how it stands, what to do."""

    check: str
    verdict: Verdict
    says: str
    fix: str = ""


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(
        "python", "ok" if sys.version_info >= (3, 11) else "failed", f"Python {version}", "use 3.11 or newer"
    )


def _database_folder(settings: Settings) -> Path:
    if settings.database_url.startswith("sqlite:///"):
        return Path(settings.database_url.removeprefix("sqlite:///")).resolve().parent
    return Path(settings.data_folder).resolve()


def _disk(settings: Settings) -> Finding:
    folder = _database_folder(settings)
    if not folder.is_dir():
        return Finding("disk", "failed", "the folder of the database is missing", f"make {folder}")
    free = shutil.disk_usage(folder).free
    says = f"{free / 1024**3:.1f} GiB free"
    return Finding("disk", "ok" if free >= FREE_WANTED_BYTES else "warning", says, "free at least 2 GiB")


def _fsync(settings: Settings) -> Finding:
    folder = _database_folder(settings)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            began = time.perf_counter()
            for _ in range(20):
                file.write(b"x" * 512)
                file.flush()
                os.fsync(file.fileno())
            cost_ms = (time.perf_counter() - began) * 50
    except OSError:
        return Finding(
            "fsync", "failed", "the folder of the database cannot be written", f"give write access to {folder}"
        )
    slow = cost_ms > FSYNC_SLOW_MS
    fix = "a slow disk delays every acknowledgement; a disk that answers in under 0.02 ms may not sync at all"
    return Finding("fsync", "warning" if slow or cost_ms < 0.02 else "ok", f"{cost_ms:.2f} ms a sync", fix)


def _clock(settings: Settings) -> Finding:
    try:
        ZoneInfo(settings.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        return Finding("clock", "failed", "unknown time_zone", "name an IANA zone, such as America/Edmonton")
    now = datetime.now(UTC)
    if now.year < 2026:
        return Finding("clock", "failed", "the clock is in the past: Consents would be judged wrongly", "set the clock")
    return Finding("clock", "ok", f"{now:%Y-%m-%dT%H:%MZ}, civil zone {settings.time_zone}")


def _database(settings: Settings) -> Finding:
    from gateway.adapters.db.engine import Database
    from gateway.adapters.db.migrate import revision_of
    from gateway.adapters.db.migrations import HEAD
    from gateway.kernel.errors import DoorwayError

    path = settings.database_url.removeprefix("sqlite:///")
    if settings.database_url.startswith("sqlite:///") and not Path(path).exists():
        return Finding("database", "ok", "not made yet; the first start makes it")
    try:
        found = revision_of(Database(settings.database_url))
    except DoorwayError as error:
        return Finding("database", "failed", error.message, error.fix)
    if found == HEAD:
        return Finding("database", "ok", f"reachable, schema {found}")
    if found is not None and found > HEAD:
        return Finding("database", "failed", f"schema {found} is of a newer release", "install that release")
    return Finding(
        "database", "warning", f"schema {found or 'none'}, this release expects {HEAD}", "doorway db upgrade"
    )


def _secrets(settings: Settings) -> Finding:
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    if settings.database_url.startswith("sqlite:///") and path.exists() and path.stat().st_mode & stat.S_IROTH:
        return Finding(
            "secrets", "warning", "every user of this machine can read the database file", f"chmod 600 {path}"
        )
    if "@" in settings.database_url and "DOORWAY_DATABASE_URL" not in os.environ:
        return Finding(
            "secrets",
            "warning",
            "a database password on a command line shows in the process list",
            "use DOORWAY_DATABASE_URL",
        )
    return Finding("secrets", "ok", "none lies open")


def _mappings(_: Settings) -> Finding:
    from gateway.kernel.errors import DoorwayError
    from gateway.wiring import check_tables

    try:
        told = check_tables()
    except DoorwayError as error:
        return Finding("mappings", "failed", str(error), "mend the row that is named")
    return Finding("mappings", "ok", told)


CHECKS: Final[tuple[Callable[[Settings], Finding], ...]] = (_disk, _fsync, _clock, _database, _mappings, _secrets)


def findings(settings: Settings) -> Iterator[Finding]:
    """Every check, in order."""
    yield _python()
    for check in CHECKS:
        yield check(settings)


@click.command(epilog="Example: doorway doctor --database sqlite:///doorway.db")
@click.option("--database", help="Database URL; default: the setting database_url.")
@click.option("--config", type=click.Path(dir_okay=False), help="TOML file with settings.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array of findings.")
def doctor(database: str | None, config: str | None, as_json: bool) -> None:
    """Check disk, fsync, clock, database, migrations, mappings and secrets; exit 3 when something should be mended."""
    from gateway.settings import read_settings

    found = list(findings(read_settings(config, database_url=database)))
    if as_json:
        click.echo(json.dumps([{"check": f.check, "verdict": f.verdict, "says": f.says, "fix": f.fix} for f in found]))
    else:
        for finding in found:
            fix = f"  -> {finding.fix}" if finding.verdict != "ok" and finding.fix else ""
            click.echo(f"{finding.verdict:<8} {finding.check:<10} {finding.says}{fix}")
    if any(finding.verdict != "ok" for finding in found):
        raise SystemExit(3)
