"""``doorway map …``."""

from collections import Counter
from pathlib import Path
from typing import IO, Any

import click


@click.group(name="map")
def map_() -> None:
    """Mapping tables: coverage, explain."""


@map_.command(epilog="Example: doorway map coverage --guide v2-to-fhir/ admit.hl7")
@click.argument("files", nargs=-1, type=click.File("rb"))
@click.option(
    "--guide",
    type=click.Path(exists=True, file_okay=False),
    help="A copy of HL7's v2-to-FHIR tables (messages/, segments/, …).",
)
@click.option("--site", default="", help="Overlay: a name below mappings/sites, or a folder.")
@click.option("--list", "listed", is_flag=True, help="Every row that is replaced or left, not only counts.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def coverage(files: tuple[IO[bytes], ...], guide: str | None, site: str, listed: bool, as_json: bool) -> None:
    """How much is mapped: of HL7's guide, row by row (--guide), and of message FILES, field by field.

    Of the guide: rows executed, replaced by a row of ours, or left with the reason. Of files: which populated fields no
    row maps, and why. Exit code 3 when a file has such fields.
    """
    import orjson

    from gateway.adapters.files.hl7v2_tables import load_tables

    tables = load_tables(site)
    told: dict[str, Any] = {
        "tables": {
            "messages": len(tables.messages),
            "segments": len(tables.segments),
            "datatypes": len(tables.datatypes),
            "vocabularies": len(tables.vocabularies),
            "events": len(tables.triggers),
            "rows": sum(len(m.rows) for m in (*tables.segments.values(), *tables.datatypes.values())),
        }
    }
    if guide:
        told["guide"] = _guide(Path(guide), tables, listed=listed or as_json)
    if files:
        told["files"] = _files(files, tables)
    if as_json:
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(told)
    if files and told["files"]["unmapped"]:
        raise SystemExit(3)


def _guide(folder: Path, tables: Any, *, listed: bool) -> dict[str, Any]:
    from gateway.adapters.files.data import read_data
    from gateway.mapping.hl7v2.coverage import guide_conditions, guide_rows, read_rulings

    file = "mappings/hl7v2/guide.csv"
    texts = {p.relative_to(folder).as_posix(): p.read_text(encoding="utf-8-sig") for p in sorted(folder.rglob("*.csv"))}
    rows = list(guide_rows(texts, tables, read_rulings(read_data(file), file=file)))
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        counts.setdefault(row.kind, {})
        counts[row.kind][row.status] = counts[row.kind].get(row.status, 0) + 1
    conditions = list(guide_conditions(texts))
    told: dict[str, Any] = {
        "rows": counts,
        "left": dict(Counter(f"{r.map}: {r.reason}" for r in rows if r.status == "left").most_common()),
        "conditions": {
            "compiled": sum(not c.problem for c in conditions),
            "ruled": [
                {"map": c.map, "line": c.line, "text": c.text, "problem": c.problem} for c in conditions if c.problem
            ],
        },
    }
    if listed:
        told["list"] = [
            {"kind": r.kind, "map": r.map, "line": r.line, "source": r.source, "target": r.target, "status": r.status,
             "ours": r.ours, "reason": r.reason}
            for r in rows
        ]  # fmt: skip
    return told


def _files(files: tuple[IO[bytes], ...], tables: Any) -> dict[str, Any]:
    from gateway.codecs.er7 import Message
    from gateway.codecs.er7_batch import split_interchange
    from gateway.kernel.errors import DoorwayError
    from gateway.mapping.hl7v2.convert import Converter

    converter = Converter(tables)
    unmapped: Counter[tuple[str, str]] = Counter()
    leaves = messages = refused = 0
    for file in files:
        for raw in split_interchange(file.read()).messages:
            try:
                message = Message.parse(raw)
                conversion = converter.convert(message)
            except DoorwayError:
                refused += 1
                continue
            messages += 1
            leaves += sum(sum(bool(f) for f in s.fields[1:]) for s in message.segments)
            for left in conversion.residue:
                name, _, rest = left.place.partition("-")
                unmapped[f"{name.split('[')[0]}-{rest}", left.reason] += 1
    return {
        "messages": messages,
        "refused": refused,
        "populated_fields": leaves,
        "unmapped": [{"field": f, "reason": r, "times": n} for (f, r), n in unmapped.most_common()],
    }


def _print(told: dict[str, Any]) -> None:
    click.echo("tables: " + ", ".join(f"{count} {name}" for name, count in told["tables"].items()))
    if "guide" in told:
        for kind, counts in told["guide"]["rows"].items():
            click.echo(f"guide {kind}: " + ", ".join(f"{n} {status}" for status, n in sorted(counts.items())))
        for reason, count in told["guide"]["left"].items():
            click.echo(f"  left {count:4} {reason}")
        conditions = told["guide"]["conditions"]
        click.echo(f"guide conditions: {conditions['compiled']} compiled, {len(conditions['ruled'])} with a ruling")
        for one in conditions["ruled"]:
            click.echo(f"  {one['map']}:{one['line']} {one['text']} - {one['problem']}")
        for row in told["guide"].get("list", ()):
            if row["status"] in ("replaced", "left"):
                click.echo(
                    f"  {row['map']}:{row['line']} {row['source']} {row['status']} {row['ours']} {row['reason']}"
                )
    if "files" in told:
        found = told["files"]
        counts = (found["messages"], found["refused"], found["populated_fields"])
        click.echo("files: {} messages, {} refused, {} populated fields".format(*counts))
        for one in found["unmapped"]:
            click.echo(f"  {one['times']:4} {one['field']}: {one['reason']}")


@map_.command(epilog="Example: doorway map explain admit.hl7 --element Patient.birthDate")
@click.argument("file", type=click.File("rb"))
@click.option("--element", default="", help="Only elements whose path begins so: Patient.name, Encounter.")
@click.option("--field", default="", help="Only what this field made: PID-5.")
@click.option("--site", default="", help="Overlay: a name below mappings/sites, or a folder.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an element.")
def explain(file: IO[bytes], element: str, field: str, site: str, as_json: bool) -> None:
    """Which field and which table rows made each element of the resources of a message FILE."""
    import orjson

    from gateway.adapters.files.hl7v2_tables import load_tables
    from gateway.codecs.er7 import Message
    from gateway.codecs.er7_batch import split_interchange
    from gateway.mapping.hl7v2.convert import Converter

    converter = Converter(load_tables(site), explain=True)
    for raw in split_interchange(file.read()).messages:
        for one in converter.convert(Message.parse(raw)).reasons:
            reference, _, path = one.path.partition(" ")
            plain = f"{reference.split('/')[0]}.{path}"
            if not plain.startswith(element) or not one.source.startswith(field):
                continue
            if as_json:
                told = {"element": one.path, "source": one.source, "row": one.row, "message_row": one.message_row}
                click.echo(orjson.dumps(told).decode())
            else:
                click.echo(f"{one.path}  <-  {one.source}  {one.row}  {one.message_row}".rstrip())
