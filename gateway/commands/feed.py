"""``doorway feed …``."""

import click


@click.group()
def feed() -> None:
    """Feeds: their interface specification, from what runs."""


@feed.command(epilog="Example: doorway feed spec riverton > interface.md")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Events, structures and fields as one JSON object.")
def spec(name: str, as_json: bool) -> None:
    """The interface specification of the feed NAME (a site overlay, else the shipped tables), as Markdown."""
    import orjson

    from gateway.adapters.files.hl7v2_tables import list_sites, load_tables
    from gateway.mapping.hl7v2.check import specification
    from gateway.mapping.hl7v2.convert import Converter

    tables = load_tables(name if name in list_sites() else "")
    if not as_json:
        for line in specification(Converter(tables, explain=True), name):
            click.echo(line)
        return
    told = {
        "feed": name,
        "events": [
            {"event": t.event, "structure": t.structure, "status": t.status, "cancels": t.cancels, "effect": t.effect}
            for t in tables.triggers.values()
        ],
        "structures": {
            m.structure: [
                {"segment": ".".join((*r.groups, r.segment)), "repeats": r.repeats, "resource": r.resource,
                 "map": r.map}
                for r in m.rows
            ]
            for m in tables.messages.values()
        },
        "fields": {
            m.name: [
                {"row": r.number, "field": r.source.field, "component": r.source.component, "target": r.target,
                 "extension": r.extension, "type": r.type, "datatype": r.datatype, "vocabulary": r.vocabulary}
                for r in m.rows
            ]
            for m in tables.segments.values()
        },
    }  # fmt: skip
    click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
