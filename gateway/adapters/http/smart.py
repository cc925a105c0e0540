"""SMART Backend Services: a client proves itself with a signed assertion and gets a short-lived opaque token.

SMART App Launch 2.2 "Backend Services", RFC 6749 section 4.4, RFC 7523. Only RS384 and ES384 are taken, and only keys
of the registered client: the header of the assertion never chooses a key set, a URL or another kind of algorithm.
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Protocol

import jwt
import orjson

from gateway.adapters.http.exchange import Exchange, pairs_of
from gateway.adapters.http.tls import Bindings
from gateway.exchange.clients import KEY_TYPES, digest_of, read_jwks
from gateway.exchange.ports.clients import Client, Grant
from gateway.kernel.errors import DoorwayError, Invalid

ALGORITHMS: Final = tuple(sorted(KEY_TYPES.values()))
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TOKEN_LIFETIME_S: Final = 300  # SMART: should not exceed five minutes
ASSERTION_LIFETIME_S: Final = 300  # SMART: exp no more than five minutes in the future
CLOCK_SKEW_S: Final = 10
_FIELD_LIMIT: Final = 16_384


class TokenDesk(Protocol):
    """The use cases that the endpoint needs, bound to the store."""

    def client(self, name: str) -> Client | None:
        """The registered client; None when unknown or revoked."""
        ...

    def use_assertion(self, client: str, assertion: bytes, expires_us: int) -> bool:
        """Mark a ``jti`` as used; False when it was used before."""
        ...

    def issue(self, client: str, token: str, scopes: list[str], purposes: list[str], lifetime_s: int) -> Grant:
        """Keep a new token."""
        ...


class Refused(Exception):
    """An OAuth error: ``error`` is a code of RFC 6749 section 5.2, ``text`` holds nothing of the request."""

    def __init__(self, error: str, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.error, self.text, self.status = error, text, status


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """``POST /oauth/token``.

    Args:
        desk: the use cases.
        addresses: the addresses that an assertion's ``aud`` may name, given the request.
        now_s: the clock, seconds since 1970.
        new_token: 256 random bits as text.
        bindings: which clients the certificate of a connection may speak as.
    """

    desk: TokenDesk
    addresses: Callable[[Exchange], frozenset[str]]
    now_s: Callable[[], float]
    new_token: Callable[[], str]
    bindings: Bindings = field(default_factory=lambda: Bindings({}))

    def grant(
        self, form: Mapping[str, str], basic: str, addresses: frozenset[str], scope: Mapping[str, Any] | None = None
    ) -> bytes:
        """The token answer (RFC 6749 section 5.1) for a token request.

        Raises:
            Refused: with the OAuth error.
        """
        if "grant_type" not in form:
            raise Refused("invalid_request", "grant_type is missing")
        if form["grant_type"] != "client_credentials":
            raise Refused("unsupported_grant_type", "grant_type must be client_credentials")
        if form.get("client_assertion_type") == ASSERTION_TYPE:
            client, purposes = self._by_assertion(form.get("client_assertion", ""), addresses)
        else:
            client, purposes = self._by_secret(form, basic), []
        if not self.bindings.allow(scope or {}, client.name):
            raise Refused("invalid_client", "the certificate of the connection is not bound to this client", 401)
        token = self.new_token()
        try:
            made = self.desk.issue(client.name, token, form.get("scope", "").split(), purposes, TOKEN_LIFETIME_S)
        except DoorwayError as error:
            code = "invalid_scope" if isinstance(error, Invalid) else "invalid_client"
            raise Refused(code, error.message) from None
        return orjson.dumps(
            {
                "access_token": token,
                "token_type": "bearer",
                "expires_in": TOKEN_LIFETIME_S,
                "scope": " ".join(made.scopes),
            }
        )

    def _by_secret(self, form: Mapping[str, str], basic: str) -> Client:
        name, secret = form.get("client_id", ""), form.get("client_secret", "")
        if basic:
            try:
                name, _, secret = base64.b64decode(basic, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                raise Refused("invalid_client", "Basic credentials cannot be read", 401) from None
        client = self.desk.client(name) if name else None
        if client is None or not client.secret_digest or not secret or digest_of(secret) != client.secret_digest:
            raise Refused("invalid_client", "unknown client or wrong secret", 401)
        return client

    def _by_assertion(self, assertion: str, addresses: frozenset[str]) -> tuple[Client, list[str]]:
        try:
            header = jwt.get_unverified_header(assertion)
            name = jwt.decode(assertion, options={"verify_signature": False}).get("iss", "")
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise Refused("invalid_client", "client_assertion is not a JWT", 401) from None
        client = self.desk.client(name) if isinstance(name, str) else None
        if client is None or not client.jwks:
            raise Refused("invalid_client", "the assertion is not accepted", 401)
        claims = self._verified(assertion, header, client, addresses)
        jti, expires = claims["jti"], claims["exp"]
        if not isinstance(jti, str) or not jti or len(jti) > 512:
            raise Refused("invalid_client", "jti must be text", 401)
        if expires > self.now_s() + ASSERTION_LIFETIME_S + CLOCK_SKEW_S:
            raise Refused("invalid_client", f"exp is more than {ASSERTION_LIFETIME_S} s away", 401)
        if not self.desk.use_assertion(client.name, digest_of(jti), int((expires + CLOCK_SKEW_S) * 1_000_000)):
            raise Refused("invalid_client", "the assertion was used before", 401)
        return client, _purposes(claims)

    def _verified(
        self, assertion: str, header: Mapping[str, Any], client: Client, addresses: frozenset[str]
    ) -> dict[str, Any]:
        """The claims, when one registered key of the right kind verifies them."""
        algorithm, kid = header.get("alg"), header.get("kid")
        keys = [
            key
            for key in read_jwks(client.jwks)
            if KEY_TYPES[key["kty"]] == algorithm and (kid is None or "kid" not in key or key["kid"] == kid)
        ]
        for key in keys:
            try:
                claims: dict[str, Any] = jwt.decode(
                    assertion,
                    jwt.PyJWK.from_dict(dict(key), algorithm=KEY_TYPES[key["kty"]]),
                    algorithms=[KEY_TYPES[key["kty"]]],
                    audience=list(addresses),
                    issuer=client.name,
                    leeway=CLOCK_SKEW_S,
                    options={"require": ["exp", "aud", "iss", "sub", "jti"], "verify_iat": True},
                )
            except (jwt.PyJWTError, ValueError, TypeError):
                continue
            if claims["sub"] == client.name and isinstance(claims["exp"], (int, float)):
                return claims
        raise Refused("invalid_client", "the assertion is not accepted", 401)

    async def answer(self, exchange: Exchange, run: Callable[..., Any]) -> None:
        """Serve one request; ``run`` takes blocking work off the event loop."""
        status, body = 200, b""
        try:
            if exchange.method != "POST":
                raise Refused("invalid_request", "use POST", 405)
            if not exchange.header("content-type").startswith("application/x-www-form-urlencoded"):
                raise Refused("invalid_request", "send application/x-www-form-urlencoded", 415)
            stated = exchange.header("content-length")
            if not stated.isdigit() or int(stated) > _FIELD_LIMIT:  # nobody has proved anything yet: little is read
                raise Refused("invalid_request", f"at most {_FIELD_LIMIT} bytes, with Content-Length", 413)
            pairs = pairs_of(await exchange.body(), at="form")
            form = dict(pairs)
            if len(form) != len(pairs):
                raise Refused("invalid_request", "a parameter stands twice")
            scheme, _, credentials = exchange.header("authorization").partition(" ")
            basic = credentials if scheme.lower() == "basic" else ""
            body = await run(self.grant, form, basic, self.addresses(exchange), exchange.scope)
        except Refused as refused:
            status = refused.status
            body = orjson.dumps({"error": refused.error, "error_description": refused.text})
        except DoorwayError as error:
            status = 400
            body = orjson.dumps({"error": "invalid_request", "error_description": error.message})
        headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store"), ("Pragma", "no-cache")]
        if status == 401:
            headers.append(("WWW-Authenticate", 'Basic realm="doorway"'))
        if status == 405:
            headers.append(("Allow", "POST"))
        if status >= 400:
            headers.append(("Connection", "close"))
        await exchange.answer(status, headers, body)


def _purposes(claims: Mapping[str, Any]) -> list[str]:
    """The purposes of use that the assertion narrows itself to (HL7 UDAP Security, ``extensions.hl7-b2b``)."""
    extensions = claims.get("extensions")
    b2b = extensions.get("hl7-b2b") if isinstance(extensions, dict) else None
    stated = b2b.get("purpose_of_use") if isinstance(b2b, dict) else None
    if stated is None:
        return []
    if not isinstance(stated, list) or not all(isinstance(one, str) for one in stated):
        raise Refused("invalid_request", "purpose_of_use must be a list of codes")
    return [one.rpartition("#")[2] for one in stated]  # "urn:oid:2.16.840.1.113883.5.8#TREAT" or plain "TREAT"


_CATEGORIES: Final = {  # bounds of the granular scopes of US Core 7, "SMART scopes"
    "Condition": ("condition-category", ("encounter-diagnosis", "problem-list-item")),
    "Observation": ("observation-category", ("laboratory", "social-history", "survey", "vital-signs")),
}
_READ_ONLY: Final = frozenset({"AuditEvent"})


def _scopes(types: Iterable[str]) -> list[str]:
    """Scopes that are granted when they are registered; bounded ones (``?`` and a search) as US Core names them."""
    served = sorted(types)
    scopes = ["system/*.rs", "system/*.cruds"]
    for type_ in served:
        scopes.append(f"system/{type_}.rs")
        if type_ not in _READ_ONLY:
            scopes.append(f"system/{type_}.cruds")
    for type_, (system, codes) in _CATEGORIES.items():
        if type_ in served:
            url = f"http://terminology.hl7.org/CodeSystem/{system}"
            scopes += [f"system/{type_}.rs?category={url}|{code}" for code in codes]
    return scopes


@lru_cache(maxsize=16)  # the address may come from a stranger's Host header: not all of them are kept
def smart_configuration(root: str, types: frozenset[str]) -> bytes:
    """``/.well-known/smart-configuration`` (SMART App Launch 2.2, "Conformance") of backend services.

    No ``issuer``, ``jwks_uri`` or ``authorization_endpoint``: they belong to logins of people, which there are none of
    here. ``code_challenge_methods_supported`` is demanded of every server all the same, with S256 in it.

    Args:
        root: the address of the gateway, without a trailing slash.
        types: the resource types that are served.
    """
    return orjson.dumps(
        {
            "token_endpoint": f"{root}/oauth/token",
            "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_basic", "client_secret_post"],
            "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
            "grant_types_supported": ["client_credentials"],
            "scopes_supported": _scopes(types),
            "response_types_supported": [],
            "code_challenge_methods_supported": ["S256"],
            "capabilities": [
                "client-confidential-asymmetric", "client-confidential-symmetric", "permission-v1", "permission-v2",
            ],
        }
    )  # fmt: skip
