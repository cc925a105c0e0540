"""``doorway consent …``."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

import click

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.consent.request import AccessRequest
    from gateway.exchange.disclose import Knowledge
    from gateway.exchange.ports.resources import ResourceReader
    from gateway.exchange.ports.store import Reading
    from gateway.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def consent() -> None:
    """Consent: decide, explain, what-if, lint, expiring, form, account, break-glass, relabel."""


def vocabulary() -> Any:
    """The hierarchies of terminology/consent."""
    from gateway.adapters.files.data import read_data
    from gateway.exchange.disclose import read_vocabulary_from

    return read_vocabulary_from(read_data)


def _decisions(lines: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Each line's decision, or what is wrong with it, and whether it was a request."""
    from gateway.consent.decide import decide
    from gateway.consent.lines import id_of, read_line
    from gateway.kernel.errors import DoorwayError

    words = vocabulary()
    for line in lines:
        if not line.strip():
            continue
        id_: Any = None
        try:
            question = read_line(line)
            id_ = question.get("id") if isinstance(question, dict) else None
            yield _written(decide(question, words)), True
        except DoorwayError as error:
            yield _written({"id": id_of(line) if id_ is None else _plain(id_), "error": str(error)}), False
        except Exception as error:
            # one hostile line must not end the stream of the others; it gets no decision, so nothing is let out
            yield _written({"id": _plain(id_), "error": f"line: cannot be decided ({type(error).__name__})"}), False


def _plain(id_: Any) -> Any:
    return id_ if isinstance(id_, (str, int, float)) else None


def _written(answer: dict[str, Any]) -> bytes:
    """One line; a residual that is nested more deeply than the quick writer goes is written by the slow one."""
    import json

    import orjson

    try:
        return orjson.dumps(answer)
    except TypeError:
        return json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode()


@consent.command(epilog="Example: doorway consent decide < requests.ndjson > decisions.ndjson")
@click.option("--json", "as_json", is_flag=True, help="NDJSON is the only output; accepted for uniformity.")
def decide(as_json: bool) -> None:
    """NDJSON requests in, NDJSON decisions out, in the same order.

    No database, no network, no clock: a request line brings its instant (now), the Consents, the asker and, if
    wanted, resources to judge one by one. A line that is not a request is answered with {"id", "error"}, and the exit
    code ends as 3. Dialects: r4 (default), r5, pcf, google, leap-flip, mii, r4-spec-narrative.
    """
    wrong = False
    out = sys.stdout.buffer
    for answer, good in _decisions(sys.stdin.buffer):
        wrong = wrong or not good
        out.write(answer + b"\n")
        out.flush()
    if wrong:
        raise SystemExit(3)


def _source(command: F) -> F:
    """Where Consents come from: the store, or a file."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON object a line."),
        click.option("--config", metavar="FILE", help="Settings in TOML."),
        click.option("--database", metavar="URL", help="sqlite:///FILE or postgresql://HOST/NAME."),
        click.option(
            "--consents", metavar="FILE", help="Instead of the store: a file; there all are party to agreements."
        ),
    ):
        command = option(command)
    return command


def _asker(command: F) -> F:
    """Who asks, and when."""
    for option in (
        click.option("--now", metavar="INSTANT", help="The instant of the request; default: the clock."),
        click.option("--action", default="access", show_default=True, help="consentaction code."),
        click.option("--purpose", "purposes", multiple=True, default=("TREAT",), show_default=True, help="Repeatable."),
        click.option("--actor", "actors", multiple=True, metavar="REF", help="A person or group; repeatable."),
        click.option("--organization", metavar="REF", default="", help="The asking Organization/id."),
    ):
        command = option(command)
    return command


def _resources_in(path: str) -> Iterator[dict[str, Any]]:
    """Resources of a file: NDJSON, one resource, a Bundle or an array."""
    from pathlib import Path

    import orjson

    from gateway.kernel.errors import Invalid, Malformed

    try:
        data = Path(path).read_bytes()
    except OSError:
        raise Invalid("cannot be read", at=path) from None
    try:
        try:
            parsed = [orjson.loads(data)]
        except orjson.JSONDecodeError:
            parsed = [orjson.loads(line) for line in data.splitlines() if line.strip()]
    except orjson.JSONDecodeError:
        raise Malformed("neither JSON nor NDJSON", at=path) from None
    for one in parsed:
        for item in one if isinstance(one, list) else [one]:
            if isinstance(item, dict) and item.get("resourceType") == "Bundle":
                yield from (e["resource"] for e in item.get("entry", ()) if isinstance(e.get("resource"), dict))
            elif isinstance(item, dict) and isinstance(item.get("resourceType"), str):
                yield item
            else:
                raise Invalid("not a resource", at=path)


@contextmanager
def _reading(consents: str | None, settings: "Settings") -> "Iterator[Reading]":
    """A snapshot of the store, or of a file put into a store in memory."""
    from gateway import wiring

    if consents is None:
        store = wiring.open_store(settings)
    else:
        from gateway.adapters.memory.store import MemoryStore
        from gateway.exchange.ports.resources import Draft

        found = list(_resources_in(consents))
        store = MemoryStore()

        def load(unit: Any) -> None:
            for number, one in enumerate(found):
                resource = one if isinstance(one.get("id"), str) else one | {"id": f"line-{number + 1}"}
                marks = tuple(m for m in (one.get("meta") or {}).get("security", ()) if isinstance(m, dict))
                unit.resources.put(Draft(resource, labels=marks), now_us=1)

        store.write(load)
    try:
        with store.reading() as reading:
            yield reading
    finally:
        store.close()


def _settings(database: str | None, config: str | None) -> "Settings":
    from gateway.settings import read_settings

    return read_settings(config, database_url=database)


def _when(now: str | None, settings: "Settings") -> "datetime":
    from gateway import wiring
    from gateway.consent.times import instant_of

    clock = wiring.clock(settings)
    return clock() if now is None else instant_of(now).astimezone(clock().tzinfo)


def _request(
    settings: "Settings", organization: str, actors: Any, purposes: Any, action: str, now: Any
) -> "AccessRequest":
    from gateway.consent.request import AccessRequest, Actor

    return AccessRequest(
        now=_when(now, settings), organization=organization, actors=tuple(Actor(one) for one in actors),
        purposes=tuple(purposes), action=action,
    )  # fmt: skip


def _knowledge(settings: "Settings", consents: str | None = None) -> "Knowledge":
    """What decisions rest on. A file holds no register of agreements, so there every organization counts as party."""
    from dataclasses import replace

    from gateway import wiring

    knowledge = wiring.consent_knowledge(settings)
    return knowledge if consents is None else replace(knowledge, law=replace(knowledge.law, agreement="registered"))


def _say(as_json: bool, told: dict[str, Any], lines: list[str]) -> None:
    import orjson

    click.echo(orjson.dumps(told).decode() if as_json else "\n".join(lines))


def _names(resources: Any, rows: Any) -> dict[str, str]:
    """What the organizations of a matrix are called."""
    import orjson

    found = resources.many([row.organization for row in rows])
    return {reference: str(orjson.loads(stored.body).get("name", "")) for reference, stored in found.items()}


def _grid(rows: Any, names: dict[str, str]) -> list[str]:
    """A matrix of organization x level as text."""
    levels = sorted({level for row in rows for level in row.total})
    head = f"{'organization':<44}" + "".join(f"{level:>12}" for level in levels)
    body = [
        f"{row.organization:<44}"
        + "".join(f"{row.seen.get(x, 0):>6} of {row.total[x]:<2}" for x in levels)
        + (f"   {names[row.organization]}" if names.get(row.organization) else "")
        + ("" if row.party else "   no agreement in force")
        for row in rows
    ]
    return [head, *body]


@consent.command(
    epilog="Example: doorway consent explain --patient Patient/p1 --organization Organization/general --purpose TREAT"
)
@click.option("--patient", "patients", multiple=True, required=True, metavar="REF", help="Whose records; repeatable.")
@click.option("--resource", "references", multiple=True, metavar="REF", help="Only these; default: all of the patient.")
@click.option("--who", is_flag=True, help="Who can see what of this client: organization x level.")
@click.option("--as-of", metavar="INSTANT", help="As the store stood at a past instant.")
@_asker
@_source
def explain(
    patients: tuple[str, ...], references: tuple[str, ...], who: bool, as_of: str | None, organization: str,
    actors: tuple[str, ...], purposes: tuple[str, ...], action: str, now: str | None, consents: str | None,
    database: str | None, config: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Why a decision is as it is: Consent and provision, labels with their basis, law, what would have to differ."""
    from gateway.consent.times import instant_us
    from gateway.exchange.explain import AsOf, organizations_of, who_sees
    from gateway.exchange.explain import explain as explained

    settings = _settings(database, config)
    request = _request(settings, organization, actors, purposes, action, as_of or now)
    knowledge = _knowledge(settings, consents)
    with _reading(consents, settings) as reading:
        resources = reading.resources
        if as_of is not None:
            resources = cast("ResourceReader", AsOf(resources, instant_us(request.now)))
        if who:
            rows = who_sees(resources, patients, organizations_of(resources, patients, knowledge), request, knowledge)
            told = {
                row.organization: {"seen": dict(row.seen), "of": dict(row.total), "agreement": row.party}
                for row in rows
            }
            _say(as_json, told, _grid(rows, _names(resources, rows)))
            return
        stored = list(resources.many(references).values()) if references else list(resources.compartment(patients))
        for one in explained(resources, request, knowledge, stored):
            lines = [f"{one.reference}: {'permit' if one.permit else 'deny'} - {one.text}"]
            lines += [f"    {name}" for name in one.because] + [f"    needs: {need}" for need in one.would_need]
            lines += [f"    signed: {form}" for form in one.forms]
            lines += [f"    labels: {', '.join(one.labels)}"] if one.labels else []
            lines += [f"    law: {one.citation}"] if one.citation else []
            _say(as_json, one.told(), lines)


@consent.command("what-if", epilog="Example: doorway consent what-if --patient Patient/p1 --draft new-roi.json")
@click.option("--patient", "patients", multiple=True, required=True, metavar="REF", help="Whose records; repeatable.")
@click.option("--draft", metavar="FILE", help="Consents or Organizations as they would be.")
@click.option("--revoke", multiple=True, metavar="REF", help="A Consent as if revoked; repeatable.")
@click.option("--agreement", "agreed", multiple=True, metavar="REF", help="An Organization as if it had one.")
@click.option("--replay", is_flag=True, help="Also the requests of the last 24 hours that would come out otherwise.")
@_asker
@_source
def what_if(
    patients: tuple[str, ...], draft: str | None, revoke: tuple[str, ...], agreed: tuple[str, ...], replay: bool,
    organization: str, actors: tuple[str, ...], purposes: tuple[str, ...], action: str, now: str | None,
    consents: str | None, database: str | None, config: str | None, as_json: bool,
) -> None:  # fmt: skip
    """What a draft Consent, a revocation or a new agreement would change: before and after, organization x level."""
    import orjson

    from gateway.consent.times import instant_us
    from gateway.exchange.agreements import drafts as agreements
    from gateway.exchange.explain import Draft, organizations_of, replayed, who_sees
    from gateway.exchange.ports.resources import Stored

    settings = _settings(database, config)
    request = _request(settings, organization, actors, purposes, action, now)
    knowledge = _knowledge(settings, consents)
    drafts: dict[str, Stored] = {}
    for number, one in enumerate(_resources_in(draft) if draft else ()):
        id_ = str(one.get("id") or f"draft-{number + 1}")
        made = Stored(one["resourceType"], id_, 1, instant_us(request.now), "PUT", orjson.dumps(one | {"id": id_}))
        drafts[made.reference] = made
    for made in agreements(agreed, request.now.date().isoformat(), instant_us(request.now)):
        drafts[made.reference] = made
    with _reading(consents, settings) as reading:
        before = reading.resources
        after = cast("ResourceReader", Draft(before, drafts, frozenset(revoke)))
        known = (organizations_of(reader, patients, knowledge) for reader in (before, after))
        who = sorted({*agreed, *(one for found in known for one in found)})
        was = who_sees(before, patients, who, request, knowledge)
        would = who_sees(after, patients, who, request, knowledge)
        told: dict[str, Any] = {
            a.organization: {"before": dict(a.seen), "after": dict(b.seen), "of": dict(a.total)}
            for a, b in zip(was, would, strict=True)
        }
        lines = ["before", *_grid(was, _names(before, was)), "after", *_grid(would, _names(after, would))]
        if replay:
            since = instant_us(request.now) - 86_400_000_000
            events = (record.event for record in reading.audit.records(since_us=since))
            changed = list(replayed(events, before, after, request, knowledge))
            told = {"matrix": told, "replayed": changed}
            lines += [f"{c['recorded']} {c['organization']}: loses {c['lost']}, wins {c['won']}" for c in changed]
        _say(as_json, told, lines)


@consent.command(epilog="Example: doorway consent lint --consents consents.ndjson. Exit code 3: there are findings.")
@click.option("--dialect", default="", help="Read all in this dialect; default: as each Consent shows.")
@click.option("--now", metavar="INSTANT", help="The instant to judge periods at; default: the clock.")
@_source
def lint(
    dialect: str, now: str | None, consents: str | None, database: str | None, config: str | None, as_json: bool
) -> None:
    """What is wrong with the Consents: not enforceable, contradicting, unreachable, never matching, without form."""
    from dataclasses import asdict

    from gateway.consent.lint import lint as check
    from gateway.consent.times import instant_us

    settings = _settings(database, config)
    found = list(check(_directives(consents, settings, dialect), vocabulary(), instant_us(_when(now, settings))))
    for one in found:
        place = f"{one.consent} {one.place}".strip()
        _say(as_json, asdict(one), [f"{place}: {one.rule}: {one.text}" + (f" ({one.fix})" if one.fix else "")])
    if found:
        raise SystemExit(3)


def _directives(consents: str | None, settings: "Settings", dialect: str = "") -> list[Any]:
    """Every Consent of the store or the file, as read."""
    from zoneinfo import ZoneInfo

    import orjson

    from gateway.consent.dialects import DIALECTS
    from gateway.consent.read import read_consent

    if dialect and dialect not in DIALECTS:
        raise click.UsageError("no such dialect; there are: " + ", ".join(DIALECTS))
    words, zone = vocabulary(), ZoneInfo(settings.time_zone)
    if consents is not None:
        found = [one for one in _resources_in(consents) if one["resourceType"] == "Consent"]
    else:
        with _reading(None, settings) as reading:
            found = [orjson.loads(stored.body) for stored in reading.resources.of_type("Consent")]
    return [
        read_consent(one, zone=zone, vocabulary=words, dialect=dialect, name=f"Consent {number + 1}")
        for number, one in enumerate(found)
    ]


@consent.command(epilog="Example: doorway consent expiring --within 30. Exit code 3: some end.")
@click.option("--within", "days", default=30, show_default=True, metavar="DAYS", help="Ending in so many days.")
@click.option("--now", metavar="INSTANT", help="Counted from this instant; default: the clock.")
@_source
def expiring(
    days: int, now: str | None, consents: str | None, database: str | None, config: str | None, as_json: bool
) -> None:
    """What ends soon: Consents whose period ends within some days, soonest first."""
    from datetime import UTC, datetime, timedelta

    from gateway.consent.lint import endings
    from gateway.consent.times import instant_us

    settings = _settings(database, config)
    when = _when(now, settings)
    found = endings(_directives(consents, settings), instant_us(when), days)
    for one in found:
        ends = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=one.ends_us)).astimezone(when.tzinfo)
        told = {"consent": one.consent, "patient": list(one.patients), "ends": ends.isoformat(), "days": one.days}
        _say(as_json, told, [f"{one.consent}: ends {ends:%Y-%m-%d}, {one.days} days left ({', '.join(one.patients)})"])
    if found:
        raise SystemExit(3)


@consent.command(epilog="Example: doorway consent form --jurisdiction ca --language fr --out formulaire.pdf")
@click.option("--jurisdiction", type=click.Choice(["us", "ca"]), default="us", show_default=True)
@click.option("--language", type=click.Choice(["en", "fr"]), default="en", show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, writable=True), metavar="FILE", help="Write a PDF.")
@click.option("--value", "values", multiple=True, metavar="NAME=TEXT", help="Fill in a blank, such as agencies=…")
@click.option("--json", "as_json", is_flag=True, help="The statements, and the QuestionnaireResponse to record.")
def form(jurisdiction: str, language: str, out: str | None, values: tuple[str, ...], as_json: bool) -> None:
    """The consent form with all that a client must be told, its version, and as a PDF for the client."""
    from pathlib import Path

    from gateway.adapters.files.data import read_data
    from gateway.consent.forms import recorded
    from gateway.exchange.consent_forms import read_forms

    chosen = next(f for f in read_forms(read_data) if (f.jurisdiction, f.language) == (jurisdiction, language))
    given = dict(value.partition("=")[::2] for value in values)
    if out is not None:
        from gateway.adapters.files.consent_pdf import consent_pdf

        Path(out).write_bytes(consent_pdf(chosen, given))
    told = {"form": chosen.canonical, "response": recorded(chosen, "Patient/…")}
    lines = [chosen.canonical] + [f"{s.number:>2} {s.key:<16} {s.heading}: {s.text}" for s in chosen.statements]
    if as_json or out is None:
        _say(as_json, told, lines)
    else:
        click.echo(f"{chosen.canonical} written")


@consent.command(epilog="Example: doorway consent relabel --database sqlite:///doorway.db")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only these resource types; repeatable.")
@click.option("--after", default="", metavar="REF", help="Go on behind this Type/id, where a run was broken off.")
@click.option("--database", metavar="URL", help="sqlite:///FILE or postgresql://HOST/NAME.")
@click.option("--config", metavar="FILE", help="Settings in TOML.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def relabel(types: tuple[str, ...], after: str, database: str | None, config: str | None, as_json: bool) -> None:
    """Label every record anew after a sensitivity table or a setting of labels has changed.

    A record whose labels stay as they are is not touched, so a run that was broken off can be run again as it is; the
    gateway may serve meanwhile.
    """
    from gateway import wiring
    from gateway.exchange.relabel import relabelling

    settings = _settings(database, config)
    served = wiring.search_definitions().types
    if unknown := sorted(set(types) - set(served)):
        raise click.UsageError(f"no such resource type: {unknown[0]}")
    if after and (not after.partition("/")[2] or after.partition("/")[0] not in served):
        raise click.UsageError("--after is not Type/id")
    store = wiring.open_store(settings)
    seen = changed = 0
    last = after
    try:
        with store.reading() as reading:
            total = sum(reading.resources.count(type_, ()) for type_ in types or served)
        steps = relabelling(store, wiring.saver(settings), types or served, now_us=wiring.now_us(), after=after)
        with click.progressbar(length=total, label="labelling", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
            for step in steps:
                seen, changed, last = seen + step.seen, changed + step.changed, step.last
                bar.update(step.seen)
        wiring.label_at_once(settings, store)
    except KeyboardInterrupt:
        click.echo(f"broken off; go on with --after {last}" if last else "broken off", err=True)
        raise SystemExit(1) from None
    finally:
        store.close()
    _say(as_json, {"seen": seen, "changed": changed}, [f"{seen} records looked at, {changed} labelled otherwise"])


@consent.command("break-glass", epilog="Example: doorway consent break-glass --since 2026-01-01T00:00:00Z --json")
@click.option("--since", metavar="INSTANT", help="Only from this instant on.")
@click.option("--database", metavar="URL", help="sqlite:///FILE or postgresql://HOST/NAME.")
@click.option("--config", metavar="FILE", help="Settings in TOML.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def break_glass(since: str | None, database: str | None, config: str | None, as_json: bool) -> None:
    """The list to review: who saw records without consent in an emergency, when, why. Exit code 3: there are some."""
    from gateway.consent.times import instant_of, instant_us
    from gateway.exchange.emergencies import broken_glass

    since_us = instant_us(instant_of(since)) if since else 0
    found = 0
    with _reading(None, _settings(database, config)) as reading:
        for one in broken_glass(record.event for record in reading.audit.records(since_us=since_us)):
            found += 1
            kinds = ", ".join(f"{kind} {count}" for kind, count in one.kinds.items())
            who = f"{one.client} ({one.organization})"
            line = (
                f"{one.recorded[:16].replace('T', ' ')}  {who} saw {kinds} of {', '.join(one.patients)}: {one.reason}"
            )
            _say(as_json, one.told(), [line])
    if found:
        raise SystemExit(3)


@consent.command(epilog="Example: doorway consent account --patient Patient/p1 --language fr")
@click.option("--patient", required=True, metavar="REF", help="Whose account.")
@click.option("--language", type=click.Choice(["en", "fr"]), default="en", show_default=True)
@click.option("--database", metavar="URL", help="sqlite:///FILE or postgresql://HOST/NAME.")
@click.option("--config", metavar="FILE", help="Settings in TOML.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def account(patient: str, language: str, database: str | None, config: str | None, as_json: bool) -> None:
    """Who received what of a client, when, what for and on which consent, in plain words.

    All records that are linked as the same person count.
    """
    from gateway.exchange.account import account_of, consents_of, nothing, sentence

    with _reading(None, _settings(database, config)) as reading:
        found = account_of(reading.resources, reading.audit, patient)
        names = _members(reading.resources, {one.organization for one in found}, "name")
        signed = _members(reading.resources, consents_of(found), "dateTime")
        for one in found:
            _say(as_json, one.told(), [sentence(one, names, language, signed)])
        if not found and not as_json:
            click.echo(nothing(language))


def _members(resources: "ResourceReader", references: set[str], member: str) -> dict[str, str]:
    """One member of each resource that there is."""
    import orjson

    found = {stored.reference: orjson.loads(stored.body) for stored in resources.many(sorted(references)).values()}
    return {reference: str(one[member]) for reference, one in found.items() if member in one}
