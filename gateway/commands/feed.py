"""``doorway feed …``."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from gateway.settings import MllpFeed

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_AGREED: Final = {  # what may be agreed with one sender, and how it is said in the specification
    "senders": "MSH-3.1^MSH-4.1",
    "listener": "listener",
    "default_charset": "charset where MSH-18 is empty",
    "charset": "charset whatever MSH-18 says",
    "time_zone": "zone of times without offset",
    "organization": "custodian of its patients",
    "jurisdiction": "jurisdiction",
    "conflict": "a control id that comes again with other content",
    "wait_for_processing": "answered after processing",
    "sequence_numbers": "MSH-13 counts the messages",
}


@click.group()
def feed() -> None:
    """Feeds: their interface specification, from what runs."""


@feed.command(epilog="Example: doorway feed spec riverton > interface.md")
@click.argument("name")
@click.option("--config", metavar="FILE", help="Settings in TOML, for a feed of mllp_feeds.")
@click.option("--json", "as_json", is_flag=True, help="Events, structures and fields as one JSON object.")
def spec(name: str, config: str | None, as_json: bool) -> None:
    """The interface specification of the feed NAME, as Markdown: a feed of the settings, a site overlay, else the
    shipped tables."""
    import orjson

    from gateway.adapters.files.hl7v2_tables import list_sites, load_tables
    from gateway.mapping.hl7v2.check import specification
    from gateway.mapping.hl7v2.convert import Converter
    from gateway.settings import read_settings

    if not _NAME.fullmatch(name):
        raise click.UsageError("NAME is up to 64 letters, digits, dots, hyphens and underscores")
    feed = read_settings(config).mllp_feeds.get(name)
    site = feed.site if feed is not None else name if name in list_sites() else ""
    agreed = _agreed(feed)
    if feed is None and not site:
        click.echo(f"doorway: no feed and no overlay is named {name}: these are the tables of every sender", err=True)
    tables = load_tables(site)
    if not as_json:
        lines = specification(Converter(tables, explain=True), name)
        click.echo(next(lines))
        for line in _preamble(site, agreed):
            click.echo(line)
        for line in lines:
            click.echo(line)
        return
    told = {
        "feed": name,
        "overlay": site,
        "agreed": agreed,
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


def _agreed(feed: "MllpFeed | None") -> dict[str, Any]:
    """What the settings say of a feed beyond the usual."""
    said = feed.model_dump(exclude_defaults=True) if feed is not None else {}
    return {name: said[name] for name in _AGREED if name in said}


def _preamble(site: str, agreed: Mapping[str, Any]) -> Iterator[str]:
    """Which tables these are, and what is agreed with the sender."""
    yield f"Tables: the shipped ones with the overlay {site}.\n" if site else "Tables: the shipped ones.\n"
    if agreed:
        yield "| agreed | |\n|---|---|"
        for name, value in agreed.items():
            text = ", ".join(value) if isinstance(value, list) else {True: "yes", False: "no"}.get(value, str(value))
            yield f"| {_AGREED[name]} | " + text.replace("|", "\\|").replace("\n", " ") + " |"
        yield ""
