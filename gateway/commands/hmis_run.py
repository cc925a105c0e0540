"""What the hmis commands do; imported when one of them runs."""

import gc
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.adapters.files.data import read_data
from gateway.adapters.files.hmis_export import FolderScratch, NdjsonFolder, open_export
from gateway.exchange.hmis_convert import Conversion, Report
from gateway.exchange.hmis_export import Rebuild
from gateway.exchange.hmis_versions import CSV_VERSION
from gateway.kernel.fhir import JsonObject, Resource

if TYPE_CHECKING:
    from gateway.exchange.hmis_release import Asking
    from gateway.exchange.ports.store import Reading, Store, Unit

EXIT_FINDINGS = 3
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@contextmanager
def disk_told() -> Iterator[None]:
    """What the disk refuses (a full disk, a folder that is none) is no defect of ours: said in one line.

    Raises:
        ClickException: exit code 1.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(f"{error.strerror or 'the disk refuses'}: {error.filename or ''}") from None


@disk_told()
def convert_export(
    path: str, out: str, processes: int, as_json: bool, version: str | None = None, validate: bool = False
) -> None:
    """``doorway hmis convert``."""
    files = open_export(path)
    conversion = Conversion(
        files, read_data, fallback_source=Path(path).stem, version=version, check=checker() if validate else None
    )
    target = Path(out)
    (target / "report.json").unlink(missing_ok=True)  # it stands there only when all of a conversion does
    if processes > 1:
        report = _side_by_side(conversion, target, processes)
    else:
        with NdjsonFolder(target) as folder, FolderScratch() as scratch:
            total = sum(seen.bytes for seen in conversion.seen) or 1
            with progress(total, "converting") as bar:
                for seen in conversion.seen:
                    conversion.convert_file(seen, folder.write, scratch)
                    bar.update(seen.bytes)
            conversion.manifest(folder.write)
            report = conversion.report
    text = json.dumps(report.as_json(), indent=1)
    (target / "report.json").write_text(text + "\n", encoding="utf-8")
    if as_json:
        click.echo(text)
    else:
        _summary(report)
    invalid = any("not valid" in reason for reason in report.reasons)
    if invalid or any(told["file"] and told["kept_whole"] for told in report.files.values()):
        sys.exit(EXIT_FINDINGS)


def checker() -> Callable[[JsonObject], list[str]]:
    """What is wrong with a resource, by R4 and the profiles that it claims: place and rule, never a value."""
    from gateway.adapters.files.validation import open_validator
    from gateway.commands.package import folder_of

    validator = open_validator(folder_of(None))

    def check(resource: JsonObject) -> list[str]:
        found = [issue for issue in validator.validate(resource) if issue.severity == "error"]
        return [f"{issue.expression}: {issue.diagnostics}" for issue in found]

    return check


def progress(length: int, label: str) -> Any:
    """A bar on stderr, only on a terminal."""
    return click.progressbar(length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty())


def _summary(report: Report) -> None:
    rows = sum(f["rows"] for f in report.files.values())
    click.echo(f"{rows:,} rows of {len(report.files)} files, format {report.version}")
    for kind, count in sorted(report.resources.items()):
        click.echo(f"  {kind:<24} {count:>12,}")
    for reason, count in sorted(report.reasons.items(), key=lambda pair: -pair[1])[:20]:
        click.echo(f"  {count:>8,} x {reason}")


def _side_by_side(conversion: Conversion, target: Path, processes: int) -> Report:
    """Every file's rows dealt out in blocks to forked processes; each writes shards, which are joined at the end."""
    import multiprocessing
    import shutil

    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(processes)]
    target.mkdir(parents=True, exist_ok=True)

    def work(number: int) -> None:
        conversion.report = Report()
        own = target / f".part{number}" if number else target  # the first one's files are those that others join
        with NdjsonFolder(own) as folder, FolderScratch() as scratch:
            for seen in conversion.seen:
                conversion.convert_file(seen, folder.write, scratch, (number, processes))
        pipes[number][1].send(conversion.report)

    workers = [context.Process(target=work, args=(n,)) for n in range(processes)]
    for worker, (_, mine) in zip(workers, pipes, strict=True):
        worker.start()
        mine.close()  # so that the end of a worker that failed is the end of its pipe
    reports = [_report_of(pipe) for pipe, _ in pipes]
    for worker in workers:
        worker.join()
    if None in reports:
        raise click.ClickException("a process of the conversion failed; what it said stands above")
    for report in reports:
        conversion.report.absorb(report)
    with NdjsonFolder(target / f".part{processes}") as folder:
        conversion.manifest(folder.write)
    for number in range(1, processes + 1):
        part = target / f".part{number}"
        for shard in sorted(part.glob("*.ndjson")):
            with (target / shard.name).open("ab") as out, shard.open("rb") as piece:
                shutil.copyfileobj(piece, out, 1 << 20)
        shutil.rmtree(part, ignore_errors=True)
    return conversion.report


def _report_of(pipe: Any) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        return None


@disk_told()
def export_folder(source: str, out: str, version: str | None, neutralise: bool, hashing: bool, as_json: bool) -> None:
    """``doorway hmis export --from``."""
    with FolderScratch() as scratch:
        rebuild = Rebuild(
            read_data, scratch, neutralise=FORMULA if neutralise else (), version=version, hash_names=hashing
        )
        folder = NdjsonFolder(Path(source))
        rebuild.begin(line for name, _, line in folder.lines() if name == "DocumentReference.ndjson")
        for name, number, line in folder.lines():
            rebuild.take(line, f"{name}:{number}")
        report = rebuild.finish(_writer(Path(out)))
    lost = rebuild.lost.lines(version or "")
    told = {"rows": report.rows, "foreign": report.foreign, "orphans": report.orphans, "lost": lost}
    if as_json:
        click.echo(json.dumps(told))
        return
    for path, rows in sorted(report.rows.items()):
        click.echo(f"{path:<40} {rows:>12,} rows")
    for said in lost:
        click.echo(said)
    for kind, count in sorted(report.foreign.items()):
        click.echo(f"{count:,} {kind} stand behind no row of the export: not written")
    for path, count in sorted(report.orphans.items()):
        click.echo(f"{path}: {count:,} rows left out, their main resource is gone")


def _writer(target: Path) -> Any:
    target.mkdir(parents=True, exist_ok=True)

    def write(path: str, pieces: Iterable[str]) -> None:
        place = target / path
        if not place.resolve().is_relative_to(target.resolve()):
            raise click.ClickException("the manifest names a file outside the folder")
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("w", encoding="utf-8", newline="") as handle:
            handle.writelines(pieces)

    return write


def _export_id(now: datetime) -> str:
    return f"D{now.astimezone(UTC):%Y%m%d%H%M%S}"


def _export_row(source: str, now: datetime, version: str, hashing: bool) -> dict[str, str]:
    now = now.astimezone(UTC)
    return {
        "ExportID": _export_id(now),
        "SourceType": "3",
        "SourceName": "Doorway",
        "ExportDate": f"{now:%Y-%m-%d %H:%M:%S}",
        "ExportStartDate": "1900-01-01",
        "ExportEndDate": f"{now:%Y-%m-%d}",
        "SoftwareName": "Doorway",
        "CSVVersion": CSV_VERSION[version],
        "ExportPeriodType": "3",
        "ExportDirective": "2",
        "HashStatus": "4" if hashing else "1",
        "ImplementationID": source,
    }


@dataclass(frozen=True, slots=True)
class _Giving:
    """An export of one source from the store, in front of the gate."""

    store: "Store"
    reading: "Reading"
    source: str
    now: datetime
    asking: "Asking"
    audit: Callable[[Sequence[Resource]], None]  # on disk before it returns


@contextmanager
def _giving(database: str | None, config: str | None, source: str | None, purpose: str) -> Iterator[_Giving]:
    from gateway import wiring
    from gateway.consent.request import AccessRequest
    from gateway.exchange.disclose import Gate
    from gateway.exchange.hmis_release import Asking
    from gateway.settings import read_settings

    settings = read_settings(config, database_url=database)
    knowledge, now_us = wiring.consent_knowledge(settings), wiring.now_us()
    now = datetime.fromtimestamp(now_us / 1_000_000, knowledge.zone)
    store = wiring.open_store(settings)

    def audit(events: Sequence[Resource]) -> None:
        def work(unit: "Unit") -> None:
            for event in events:
                unit.audit.append(event, now_us=now_us)

        store.write(work)

    try:
        with store.reading() as reading:
            name = _the_source(reading.rows.sources(), source)

            def gate(organization: str) -> Gate:
                asks = AccessRequest(now=now, organization=organization, purposes=(purpose,), client=name)
                return Gate(reading.resources, asks, knowledge)

            audit([gate("").event(None, activity="operation", what="hmis export", id_=_export_id(now))])
            yield _Giving(store, reading, name, now, Asking(gate, knowledge.notices), audit)
    finally:
        store.close()


def export_store(
    out: str, version: str | None, database: str | None, config: str | None, source: str | None, hashing: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """``doorway hmis export`` from the store: a full refresh of everything that a source has."""
    from gateway.exchange.hmis_store_export import StoreExport, format_of

    with _giving(database, config, source, "TREAT") as giving:
        spoken = format_of(giving.reading, giving.source)
        version = version or spoken
        lost = no_place(spoken, version)
        cells = _export_row(giving.source, giving.now, version, hashing) if version != "hifis" else {}
        job = StoreExport(
            read_data, giving.source, version, cells, asking=giving.asking, audit=giving.audit, hash_names=hashing
        )
        job.write(giving.reading, _writer(Path(out)))
    if as_json:
        click.echo(json.dumps({"source": giving.source, "version": version, "rows": job.rows, "lost": lost}))
        return
    for file, rows in job.rows.items():
        click.echo(f"{file + '.csv':<40} {rows:>12,} rows")
    for said in lost:
        click.echo(said)


def no_place(spoken: str, version: str) -> list[str]:
    """What the source's own format has and that of the export has not: cells of these columns are left out."""
    from gateway.mapping.hmis.spec import load_spec

    if spoken == version or not {spoken, version} <= CSV_VERSION.keys():
        return []
    old, new = load_spec(read_data, spoken), load_spec(read_data, version)
    out = []
    for name, file in old.files.items():
        kept = {column.name for column in new.files[name].columns} if name in new.files else set()
        gone = [column.name for column in file.columns if column.name not in kept]
        if gone:
            out.append(f"{name}.csv: no place in FY{version} for {', '.join(gone)}")
    return out


def _the_source(sources: list[str], source: str | None) -> str:
    if source is None and len(sources) != 1:
        raise click.UsageError(f"the store holds {len(sources)} HMIS sources; name one with --source")
    if source is not None and source not in sources:
        raise click.UsageError("the store holds no HMIS rows of the source named with --source")
    return source if source is not None else sources[0]


def export_delta(
    out: str,
    version: str | None,
    database: str | None,
    config: str | None,
    source: str | None,
    since: str | None,
    enroll_at: str,
    purpose: str,
    as_json: bool,
) -> None:
    """``doorway hmis export --delta``: what came back through FHIR."""
    from gateway.exchange.hmis_delta import Delta
    from gateway.exchange.hmis_joined import SENT
    from gateway.exchange.hmis_store_export import format_of

    try:
        begin = datetime.fromisoformat(since) if since else datetime.fromtimestamp(0, UTC)
    except ValueError:
        raise click.UsageError("--since is no day or instant, such as 2026-06-30T09:00:00Z") from None
    begin = begin if begin.tzinfo else begin.replace(tzinfo=UTC)
    with _giving(database, config, source, purpose) as giving:
        name = giving.source
        spoken = format_of(giving.reading, name)
        version = version or (spoken if spoken in CSV_VERSION else "2026")
        cells = _export_row(name, giving.now, version, False) | {"ExportPeriodType": "1", "ExportDirective": "1"}
        cells |= {"ExportStartDate": f"{begin:%Y-%m-%d}"} if since else {}
        since_us = int(begin.timestamp() * 1_000_000)
        job = Delta(
            read_data, giving.reading, name, version, cells, asking=giving.asking, since_us=since_us,
            enroll_at=enroll_at,
        )  # fmt: skip
        giving.audit(job.collect())  # on disk before the first row is written
        job.write(_writer(Path(out)))
        if job.sent:
            texts = {key: sent.text for key, sent in job.sent.items()}
            giving.store.write(lambda unit: unit.rows.put_extras(name, SENT, texts))
    _tell_delta(job, name, as_json)
    if job.aside:
        sys.exit(EXIT_FINDINGS)


def _tell_delta(job: Any, source: str, as_json: bool) -> None:
    """What was written, what is withheld, what has no place in the format."""
    from gateway.exchange.hmis_delta import SIDE_FILE

    if as_json:
        told = [{"resource": where, "state": state, "reason": why} for where, state, why in job.aside]
        click.echo(json.dumps({"source": source, "rows": job.rows, "aside": told, "withheld": job.withheld}))
    else:
        for file, rows in job.rows.items():
            click.echo(f"{file + '.csv':<40} {rows:>12,} rows")
        if job.withheld:
            click.echo(f"{job.withheld:,} withheld: an organization that would get them may not see them")
        if job.aside:
            click.echo(f"{len(job.aside):,} states have no place in HUD's format: see {SIDE_FILE}")


def import_export(
    path: str,
    database: str | None,
    config: str | None,
    refresh: str,
    max_deleted: float,
    dry_run: bool,
    rejects: str | None,
    as_json: bool,
    version: str | None = None,
) -> None:
    """``doorway hmis import``."""
    from gateway import wiring
    from gateway.exchange.hmis_import import Import, Options
    from gateway.settings import read_settings

    settings = read_settings(config, database_url=database)
    conversion = Conversion(open_export(path), read_data, fallback_source=Path(path).stem, version=version)
    store = wiring.open_store(settings)
    total = sum(seen.bytes for seen in conversion.seen) or 1
    try:
        with progress(total, "importing") as bar:
            job = Import(
                conversion,
                wiring.saver(settings),
                now_us=wiring.now_us,
                options=Options(refresh=refresh, max_deleted_share=max_deleted, dry_run=dry_run, salt=os.urandom(32)),
                tick=bar.update,
            )
            gc.freeze()  # tables and classes stay: looking for garbage in them after every batch costs a fifth
            report = job.run(store)
        if not dry_run:
            wiring.label_at_once(settings, store)
    finally:
        store.close()
    if rejects is not None:
        _write_rejects(Path(rejects), report.notes)
    if as_json:
        click.echo(json.dumps({**report.as_json(), "dry_run": dry_run}))
    else:
        _import_summary(report, dry_run)
    if report.notes:
        sys.exit(EXIT_FINDINGS)


def _write_rejects(place: Path, notes: list[dict[str, Any]]) -> None:
    import csv

    with place.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["file", "row", "column", "kind", "reason"])
        writer.writerows([n["file"], n["row"], n["column"], n["kind"], n["reason"]] for n in notes)


def _import_summary(report: Any, dry_run: bool) -> None:
    said = "would be " if dry_run else ""
    click.echo(f"{report.mode} import, format {report.version}{' (dry run: nothing was kept)' if dry_run else ''}")
    for file, counts in report.counts.items():
        click.echo(f"  {file:<24} " + ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items())))
    for file, names in report.unknown_columns.items():
        click.echo(
            f"{file}: {len(names)} columns that HUD does not know are kept for the export back, disclosed to nobody"
        )
    if report.absent:
        click.echo(f"{report.absent:,} rows {said}deleted, since the full refresh no longer has them")
    for organization in report.refused_organizations:
        click.echo(f"organization {organization} is a victim service provider: its client-level rows were refused")
    for note in report.notes[:20]:
        click.echo(f"{note['file']}:{note['row']} {note['column']}: {note['reason']}")
    if len(report.notes) > 20:
        click.echo(f"and {len(report.notes) - 20:,} more: --json or --rejects FILE.csv lists them")
