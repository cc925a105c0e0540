"""Registering API clients and giving them tokens; the secrets themselves are nowhere kept."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import orjson

from gateway.consent.request import AccessRequest
from gateway.exchange.ports.clients import Client, ClientReader, Clients, Grant
from gateway.exchange.ports.store import Reading, Unit
from gateway.exchange.rest.scopes import Scopes, granted, read_scope
from gateway.kernel.errors import Invalid, NotFound, Unauthorized

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_ORGANIZATION: Final = re.compile(r"Organization/[A-Za-z0-9.-]{1,64}", re.ASCII)
_PURPOSE: Final = re.compile(r"[A-Z][A-Za-z0-9-]{1,31}", re.ASCII)
KEY_TYPES: Final = {"RSA": "RS384", "EC": "ES384"}  # SMART Backend Services asks for both; nothing else is taken


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, proved by a token: the client as registered, and what the token narrows it to."""

    client: Client
    scopes: Scopes
    purposes: tuple[str, ...]
    token: bytes = field(default=b"", repr=False)  # SHA-256 of the bearer token

    def request(self, now: datetime, *, action: str = "access") -> AccessRequest:
        """The question that consent decides on."""
        return AccessRequest(
            now=now,
            organization=self.client.organization,
            roles=self.client.roles,
            purposes=self.purposes,
            action=action,
            client=self.client.name,
        )


def digest_of(secret: str) -> bytes:
    """SHA-256 of a token, a secret or a ``jti``; tokens and secrets are 256 random bits, so no salt is needed."""
    return hashlib.sha256(secret.encode()).digest()


def read_jwks(text: str, *, at: str = "--jwks") -> list[Mapping[str, Any]]:
    """The keys of a JSON Web Key Set, each public, RSA of 2048 bits or more or EC on P-384.

    Raises:
        Invalid: not a key set, a private key in it, or a kind of key that is not allowed.
    """
    try:
        keys = orjson.loads(text)["keys"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise Invalid("not a JSON Web Key Set", at=at, fix='give a file with {"keys": [...]}') from None
    if not isinstance(keys, list) or not keys:
        raise Invalid("the key set is empty", at=at)
    for index, key in enumerate(keys):
        place = f"{at} keys[{index}]"
        if not isinstance(key, dict) or key.get("kty") not in KEY_TYPES:
            raise Invalid("not an RSA or EC key", at=place, fix="RS384 or ES384")
        if "d" in key:
            raise Invalid("a private key", at=place, fix="register the public key only, and replace this one")
        if key["kty"] == "EC" and key.get("crv") != "P-384":
            raise Invalid("not on curve P-384", at=place, fix="ES384 keys are on P-384")
        if key["kty"] == "RSA" and len(str(key.get("n", ""))) < 342:  # base64url of 256 bytes
            raise Invalid("shorter than 2048 bits", at=place)
    return keys


def register(
    clients: Clients,
    name: str,
    *,
    organization: str,
    scopes: Iterable[str],
    roles: Iterable[str] = (),
    purposes: Iterable[str] = (),
    jwks: str = "",
    secret: str = "",
    now_us: int,
) -> Client:
    """Register a client, or replace its registration; tokens of the old one end.

    Raises:
        Invalid: a name, organization, scope, purpose or key set that cannot be right, with the option it came from.
    """
    if not _NAME.fullmatch(name):
        raise Invalid("not a client name", at="NAME", fix="letters, digits, dot, dash and underscore, at most 64")
    if not _ORGANIZATION.fullmatch(organization):
        raise Invalid("not a reference", at="--organization", fix="write Organization/id")
    made = Client(
        name,
        organization,
        tuple(scopes),
        tuple(roles),
        tuple(purposes) or ("TREAT",),
        jwks,
        digest_of(secret) if secret else b"",
        now_us,
    )
    if not made.scopes:
        raise Invalid("at least one scope is needed", at="--scope", fix="such as system/Patient.rs")
    for text in made.scopes:
        read_scope(text, at="--scope")
    for purpose in made.purposes:
        if not _PURPOSE.fullmatch(purpose):
            raise Invalid("not a purpose of use", at="--purpose", fix="a v3 PurposeOfUse code such as TREAT or HOPERAT")
    if jwks:
        read_jwks(jwks)
    clients.withdraw(name)
    clients.put(made)
    return made


def revoke(clients: Clients, name: str, *, now_us: int) -> int:
    """End a registration at once: no new tokens, and every token it holds is forgotten. How many those were.

    Raises:
        NotFound: no client of this name.
    """
    client = clients.get(name)
    if client is None:
        raise NotFound("no such client", at="NAME", fix="doorway client list shows them")
    if client.revoked_us is None:
        clients.put(replace(client, revoked_us=now_us))
    return clients.withdraw(name)


def issue(
    clients: Clients,
    name: str,
    token: str,
    *,
    scopes: Iterable[str] = (),
    purposes: Iterable[str] = (),
    now_us: int,
    lifetime_s: int,
) -> Grant:
    """Give a client the token that the caller made of 256 random bits; scopes and purposes only narrow.

    Raises:
        Unauthorized: no such client, or revoked.
        Invalid: none of the scopes or purposes asked for is registered.
    """
    client = clients.get(name)
    if client is None or client.revoked_us is not None:
        raise Unauthorized("unknown client", at="client", fix="doorway client list shows the registered ones")
    allowed = granted(client.scopes, scopes)
    if not allowed:
        raise Invalid("no registered scope among those asked for", at="scope")
    wanted = tuple(purposes)
    if not set(wanted) <= set(client.purposes):
        raise Invalid("a purpose that the client is not registered for", at="purpose_of_use")
    grant = Grant(name, allowed, wanted or client.purposes, now_us + lifetime_s * 1_000_000)
    clients.issue(digest_of(token), grant)
    return grant


def admit(reading: Reading | Unit, caller: Caller) -> None:
    """Look again, in the snapshot or transaction of a request, whether its token still counts.

    Requests of one caller that share a transaction share the answer, as long as no token is withdrawn in it.

    Raises:
        Unauthorized: the token was withdrawn since the caller was looked up.
    """
    admitted = reading.clients.admitted
    if caller.token and (admitted is None or caller.token not in admitted):
        if reading.clients.grant(caller.token) is None:
            raise Unauthorized("the token is not valid", at="Authorization", fix="ask the token endpoint for a new one")
        if admitted is not None:
            admitted.add(caller.token)


def caller_of(clients: ClientReader, token: str, *, now_us: int) -> Caller:
    """Who holds the token.

    Raises:
        Unauthorized: unknown, expired or revoked; the three look alike.
    """
    digest = digest_of(token)
    grant = clients.grant(digest)
    client = clients.get(grant.client) if grant is not None and grant.expires_us > now_us else None
    if grant is None or client is None or client.revoked_us is not None:
        raise Unauthorized("the token is not valid", at="Authorization", fix="ask the token endpoint for a new one")
    return Caller(client, Scopes.of(grant.scopes), grant.purposes, digest)
