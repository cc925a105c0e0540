"""``doorway client …``: who may call the API."""

from typing import IO, TYPE_CHECKING

import click

if TYPE_CHECKING:
    from datetime import date

    from gateway.exchange.agreements import Agreement
    from gateway.exchange.ports.clients import Client
    from gateway.exchange.ports.store import Store, Unit

_DATABASE = click.option("--database", metavar="URL", help="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.")
_CONFIG = click.option(
    "--config", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="Settings in TOML."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a client.")


@click.group()
def client() -> None:
    """Registered API clients and their organizations' agreements: add, agreement, list, revoke, token.

    Example: doorway client add ehr --organization Organization/general --scope 'system/*.rs' --jwks ehr-public.json
    """


def _store(database: str | None, config: str | None) -> "Store":
    from gateway import wiring
    from gateway.settings import read_settings

    return wiring.open_store(read_settings(config, database_url=database))


@client.command(
    epilog="Example: doorway client add ehr --organization Organization/general --scope 'system/*.rs' --secret"
)
@click.argument("name")
@click.option("--organization", required=True, metavar="REF", help="Organization/id on whose behalf it asks.")
@click.option("--scope", "scopes", multiple=True, required=True, help="SMART v2 system scope; repeatable.")
@click.option("--jwks", type=click.File("r"), metavar="FILE", help="Its public keys (RS384 or ES384), a JWK Set.")
@click.option("--secret", is_flag=True, help="Give it a secret instead; printed once, kept as a hash.")
@click.option("--role", "roles", multiple=True, metavar="SYSTEM|CODE", help="Role of the people behind it; repeatable.")
@click.option(
    "--purpose", "purposes", multiple=True, metavar="CODE", help="Purpose of use (v3 ActReason), default TREAT."
)
@click.option(
    "--agreement-until", metavar="DATE", help="Last day of the organization's agreement; default: a year, if none."
)
@click.option("--no-agreement", is_flag=True, help="Record none: the organization receives nothing until one is.")
@_DATABASE
@_CONFIG
@_JSON
def add(
    name: str,
    organization: str,
    scopes: tuple[str, ...],
    jwks: "IO[str] | None",
    secret: bool,
    roles: tuple[str, ...],
    purposes: tuple[str, ...],
    agreement_until: str | None,
    no_agreement: bool,
    database: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Register the client NAME, or replace its registration (its tokens end).

    An organization without a current agreement on record receives nothing, whatever a Consent says. Where none is on
    record, one of a year from today is recorded; doorway client agreement shows, renews and ends agreements.
    """
    import secrets

    from gateway import wiring
    from gateway.exchange.clients import register

    if secret and jwks is not None:
        raise click.UsageError("--jwks or --secret, not both")
    if agreement_until and no_agreement:
        raise click.UsageError("--agreement-until or --no-agreement, not both")
    words = secrets.token_urlsafe(32) if secret else ""
    keys = jwks.read() if jwks is not None else ""
    scopes = tuple(part for scope in scopes for part in scope.split())
    today = _today(config)

    def work(unit: "Unit") -> "tuple[Client, Agreement | None]":
        made = register(
            unit.clients, name, organization=organization, scopes=scopes, roles=roles, purposes=purposes, jwks=keys,
            secret=words, now_us=wiring.now_us(),
        )  # fmt: skip
        return made, None if no_agreement else _agreed(unit, organization, today, agreement_until)

    store = _store(database, config)
    try:
        made, agreement = store.write(work)
    finally:
        store.close()
    if as_json:
        import json

        told = {"client_id": made.name, "organization": made.organization, "scope": " ".join(made.scopes)}
        told |= {"agreement_until": agreement.until} if agreement is not None else {}
        click.echo(json.dumps(told | ({"client_secret": words} if words else {})))
        return
    click.echo(f"registered {made.name} for {made.organization}, scopes {' '.join(made.scopes)}")
    click.echo(_line(agreement) if agreement is not None else f"{made.organization}: no agreement recorded")
    if words:
        click.echo(f"secret (shown once): {words}")
    elif not keys:
        click.echo("no key and no secret: it can only use tokens made with doorway client token")


def _today(config: str | None) -> "date":
    """The civil date of the site."""
    from gateway import wiring
    from gateway.settings import read_settings

    return wiring.clock(read_settings(config))().date()


def _agreed(unit: "Unit", organization: str, today: "date", until: str | None) -> "Agreement":
    """The agreement on record after a registration: as said, or as it was, or one of a year."""
    from gateway import wiring
    from gateway.exchange.agreements import agree, agree_at_first, agreement_of

    if until is None:
        return agree_at_first(unit.resources, organization, today=today, now_us=wiring.now_us())
    before = agreement_of(unit.resources, organization)
    since = before.since if before is not None else today.isoformat()
    return agree(unit.resources, organization, since=since, until=until, now_us=wiring.now_us())


def _line(agreement: "Agreement") -> str:
    end = f"until {agreement.until}" if agreement.until else "without an end"
    return f"{agreement.organization}: agreement from {agreement.since} {end}"


@client.command(epilog="Example: doorway client agreement Organization/general --until 2027-12-31")
@click.argument("organization", required=False)
@click.option("--from", "since", metavar="DATE", help="First day; default: as recorded, or today.")
@click.option("--until", metavar="DATE", help="Last day; default: without an end.")
@click.option("--end", is_flag=True, help="End it: from now on the organization receives nothing.")
@_DATABASE
@_CONFIG
@_JSON
def agreement(
    organization: str | None,
    since: str | None,
    until: str | None,
    end: bool,
    database: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Agreements on record: all of them, or that of ORGANIZATION; with --from or --until record it, with --end end it.

    An Organization without a current agreement receives nothing, whatever a Consent says; its own records it sees.
    """
    from dataclasses import asdict

    from gateway.exchange.agreements import agreements

    if end and (since or until):
        raise click.UsageError("--end stands alone")
    if organization is None and (end or since or until):
        raise click.UsageError("name the organization")
    today = _today(config)
    store = _store(database, config)
    try:
        if organization is not None and (end or since or until):
            store.write(lambda unit: _change(unit, organization, today, since, until, end))
        with store.reading() as reading:
            found = [one for one in agreements(reading.resources) if organization in (None, one.organization)]
    finally:
        store.close()
    for one in found:
        if as_json:
            import json

            click.echo(json.dumps(asdict(one)))
        else:
            click.echo(_line(one))
    if organization is not None and not found:
        click.echo(f"{organization}: no agreement recorded")


def _change(unit: "Unit", organization: str, today: "date", since: str | None, until: str | None, end: bool) -> None:
    from datetime import timedelta

    from gateway import wiring
    from gateway.exchange.agreements import agree, agreement_of

    before = agreement_of(unit.resources, organization)
    first = since or (before.since if before is not None else today.isoformat())
    if end:  # yesterday was the last day, so that the next request is refused
        yesterday = (today - timedelta(days=1)).isoformat()
        first, until = min(first, yesterday), yesterday
    agree(unit.resources, organization, since=first, until=until or "", now_us=wiring.now_us())


@client.command("list", epilog="Example: doorway client list --json")
@_DATABASE
@_CONFIG
@_JSON
def list_(database: str | None, config: str | None, as_json: bool) -> None:
    """Every registered client, revoked ones included."""
    import json

    store = _store(database, config)
    try:
        with store.reading() as reading:
            every = reading.clients.all()
    finally:
        store.close()
    for one in every:
        proof = "keys" if one.jwks else "secret" if one.secret_digest else "none"
        state = "active" if one.revoked_us is None else "revoked"
        if as_json:
            told = {
                "client_id": one.name, "organization": one.organization, "scope": " ".join(one.scopes),
                "roles": list(one.roles), "purposes": list(one.purposes), "proof": proof, "state": state,
            }  # fmt: skip
            click.echo(json.dumps(told))
        else:
            words = (one.name, state, one.organization, f"proof {proof}", "purposes " + ",".join(one.purposes))
            click.echo("  ".join((*words, " ".join(one.scopes))))


@client.command(epilog="Example: doorway client revoke ehr")
@click.argument("name")
@_DATABASE
@_CONFIG
def revoke(name: str, database: str | None, config: str | None) -> None:
    """End the client NAME at once: every token it holds stops within a second."""
    from gateway import wiring
    from gateway.exchange.clients import revoke as end

    store = _store(database, config)
    try:
        tokens = store.write(lambda unit: end(unit.clients, name, now_us=wiring.now_us()))
    finally:
        store.close()
    click.echo(f"revoked {name}, {tokens} tokens ended")


@client.command(
    epilog='Example: curl -H "Authorization: Bearer $(doorway client token ehr)" localhost:8080/fhir/Patient'
)
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, help="Narrow the token to these scopes; repeatable.")
@click.option("--purpose", "purposes", multiple=True, metavar="CODE", help="Narrow it to these purposes; repeatable.")
@click.option(
    "--hours", type=click.FloatRange(0.01, 24 * 31), default=8.0, show_default=True, help="How long it holds."
)
@_DATABASE
@_CONFIG
@_JSON
def token(
    name: str,
    scopes: tuple[str, ...],
    purposes: tuple[str, ...],
    hours: float,
    database: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Print a ready-made bearer token of the client NAME, for trials and scripts; partners use the token endpoint."""
    import secrets

    from gateway import wiring
    from gateway.exchange.clients import issue

    words = secrets.token_urlsafe(32)
    store = _store(database, config)
    try:
        grant = store.write(
            lambda unit: issue(
                unit.clients,
                name,
                words,
                scopes=scopes,
                purposes=purposes,
                now_us=wiring.now_us(),
                lifetime_s=int(hours * 3600),
            )
        )
    finally:
        store.close()
    if as_json:
        import json

        told = {"access_token": words, "token_type": "bearer", "expires_in": int(hours * 3600)}
        click.echo(json.dumps(told | {"scope": " ".join(grant.scopes)}))
    else:
        click.echo(words)
