"""SMART Backend Services: who gets a token, and who does not."""

import base64
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway import wiring
from gateway.adapters.db.store import DbStore
from gateway.exchange.clients import register, revoke
from gateway.exchange.rest.scopes import Scopes, granted
from tests.adapters.http.conftest import World, world_over

TOKEN = "http://gateway.test/oauth/token"
KIND = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass
class Keys:
    rsa: rsa.RSAPrivateKey
    ec: ec.EllipticCurvePrivateKey
    jwks: str


@pytest.fixture(scope="module")
def keys() -> Keys:
    one, two = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())
    public = [
        orjson.loads(jwt.algorithms.RSAAlgorithm.to_jwk(one.public_key())) | {"kid": "r"},
        orjson.loads(jwt.algorithms.ECAlgorithm.to_jwk(two.public_key())) | {"kid": "e"},
    ]
    return Keys(one, two, orjson.dumps({"keys": public}).decode())


@pytest.fixture
def smart(sqlite_store: DbStore, tmp_path: Path, keys: Keys) -> Iterator[World]:
    for world in world_over(sqlite_store, tmp_path):
        add(world, "backend", keys.jwks)
        yield world


def add(world: World, name: str, jwks: str, secret: str = "") -> None:
    world.store.write(
        lambda unit: register(
            unit.clients,
            name,
            organization="Organization/h",
            scopes=["system/Patient.rs", "system/Task.cru"],
            purposes=["TREAT", "HOPERAT"],
            jwks=jwks,
            secret=secret,
            now_us=wiring.now_us(),
        )
    )


def assertion(key: Any, algorithm: str = "RS384", kid: str | None = "r", **claims: Any) -> str:
    made = {"iss": "backend", "sub": "backend", "aud": TOKEN, "exp": time.time() + 60, "jti": uuid.uuid4().hex} | claims
    made = {name: value for name, value in made.items() if value is not None}
    return jwt.encode(made, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


def ask(world: World, words: str = "", **form: str) -> httpx.Response:
    sent = {"grant_type": "client_credentials"}
    if words:
        sent |= {"client_assertion_type": KIND, "client_assertion": words}
    return world.http.request("POST", "/oauth/token", data=sent | form)


def test_a_signed_assertion_gets_a_token_that_opens_what_was_registered(smart: World, keys: Keys) -> None:
    for words in (assertion(keys.rsa), assertion(keys.ec, "ES384", "e"), assertion(keys.rsa, kid=None)):
        answer = ask(smart, words, scope="system/Patient.r system/Zq.rs")
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert (told["token_type"], told["expires_in"], told["scope"]) == ("bearer", 300, "system/Patient.r")
        assert answer.headers["cache-control"] == "no-store"
        headers = {"Authorization": f"Bearer {told['access_token']}"}
        assert smart.http.get("/fhir/Patient/none", headers=headers).status_code == 404
        assert smart.http.get("/fhir/Patient", headers=headers).status_code == 403


def test_an_assertion_works_once(smart: World, keys: Keys) -> None:
    words = assertion(keys.rsa)
    assert ask(smart, words).status_code == 200
    again = ask(smart, words)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")


def hostile(keys: Keys) -> dict[str, str]:
    stranger = rsa.generate_private_key(65537, 2048)
    public = keys.rsa.public_key().public_numbers().n.to_bytes(256, "big")
    none = ".".join(
        base64.urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=").decode()
        for part in (
            {"alg": "none"},
            {"iss": "backend", "sub": "backend", "aud": TOKEN, "exp": time.time() + 60, "jti": "x"},
        )
    )
    now = time.time()
    return {
        "alg none": none + ".",
        "public key as shared secret": jwt.encode(
            {"iss": "backend", "sub": "backend", "aud": TOKEN, "exp": now + 60, "jti": "h"}, public, algorithm="HS384"
        ),
        "another kind of algorithm": assertion(keys.rsa, "RS256"),
        "another key": assertion(stranger),
        "unknown key id": assertion(keys.rsa, kid="zq"),
        "another audience": assertion(keys.rsa, aud="https://elsewhere.example/token"),
        "no audience": assertion(keys.rsa, aud=None),
        "expired": assertion(keys.rsa, exp=now - 60),
        "too long": assertion(keys.rsa, exp=now + 3600),
        "no expiry": assertion(keys.rsa, exp=None),
        "no jti": assertion(keys.rsa, jti=None),
        "empty jti": assertion(keys.rsa, jti=""),
        "issued tomorrow": assertion(keys.rsa, iat=now + 86_400),
        "another subject": assertion(keys.rsa, sub="other"),
        "unknown client": assertion(keys.rsa, iss="zq", sub="zq"),
        "key of the caller's own choice": jwt.encode(
            {"iss": "backend", "sub": "backend", "aud": TOKEN, "exp": now + 60, "jti": "j"},
            stranger,
            algorithm="RS384",
            headers={
                "jku": "https://elsewhere.example/keys",
                "jwk": orjson.loads(jwt.algorithms.RSAAlgorithm.to_jwk(stranger.public_key())),
            },
        ),
        "no JWT": "zq",
        "deep": ".".join([base64.urlsafe_b64encode(b"[" * 2000).decode()] * 3),
    }


def test_every_forged_stale_or_misdirected_assertion_is_refused(smart: World, keys: Keys) -> None:
    for name, words in hostile(keys).items():
        answer = ask(smart, words)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), name
        assert "zq" not in answer.text.casefold(), name


def test_a_purpose_of_use_narrows_and_an_unregistered_one_is_refused(smart: World, keys: Keys) -> None:
    narrow = {"hl7-b2b": {"purpose_of_use": ["HOPERAT"]}}
    assert ask(smart, assertion(keys.rsa, extensions=narrow)).status_code == 200
    wide = {"hl7-b2b": {"purpose_of_use": ["BTG"]}}
    assert ask(smart, assertion(keys.rsa, extensions=wide)).json()["error"] == "invalid_scope"
    assert ask(smart, assertion(keys.rsa), scope="system/Zq.rs").json()["error"] == "invalid_scope"


def test_a_secret_works_in_the_body_and_in_basic(smart: World) -> None:
    add(smart, "simple", "", "s3cret")
    assert ask(smart, client_id="simple", client_secret="s3cret").status_code == 200
    basic = base64.b64encode(b"simple:s3cret").decode()
    sent = {"grant_type": "client_credentials"}
    headers = {"Authorization": f"Basic {basic}"}
    assert smart.http.request("POST", "/oauth/token", data=sent, headers=headers).status_code == 200
    for form in ({"client_secret": "wrong"}, {"client_secret": ""}, {"client_id": "backend", "client_secret": "x"}):
        refused = ask(smart, **{"client_id": "simple", **form})
        assert refused.status_code == 401, form
        assert refused.headers["www-authenticate"].startswith("Basic")


def test_other_requests_to_the_token_endpoint_are_refused_in_the_words_of_oauth(smart: World) -> None:
    assert ask(smart, grant_type="password").json()["error"] == "unsupported_grant_type"
    assert smart.http.get("/oauth/token").status_code == 405
    assert smart.http.request("POST", "/oauth/token", json={}).status_code == 415
    big = smart.http.request("POST", "/oauth/token", data={"client_assertion": "a" * 20_000})
    assert big.status_code == 413


def test_a_revoked_client_is_out_at_once(smart: World, keys: Keys) -> None:
    token = ask(smart, assertion(keys.rsa)).json()["access_token"]
    assert smart.store.write(lambda unit: revoke(unit.clients, "backend", now_us=wiring.now_us())) == 1
    answer = smart.http.get("/fhir/Patient", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert ask(smart, assertion(keys.rsa)).status_code == 401


def test_the_configuration_names_what_there_is(smart: World) -> None:
    for path in ("/.well-known/smart-configuration", "/fhir/.well-known/smart-configuration"):
        told = smart.http.get(path).json()
        assert told["token_endpoint"] == TOKEN
        assert told["token_endpoint_auth_signing_alg_values_supported"] == ["ES384", "RS384"]
        assert set(told["capabilities"]) == {
            "client-confidential-asymmetric", "client-confidential-symmetric", "permission-v1", "permission-v2",
        }  # fmt: skip
        assert {"grant_types_supported", "capabilities", "token_endpoint"} <= set(told)  # required (SMART 2.2)
        assert told["code_challenge_methods_supported"] == ["S256"]
        assert not {"issuer", "jwks_uri", "authorization_endpoint"} & set(told)  # of logins of people: none here
        allowed = Scopes.of(told["scopes_supported"])  # each of them is understood
        assert all(allowed.allows(type_, "r") for type_ in ("Patient", "AuditEvent"))
        assert "system/AuditEvent.cruds" not in told["scopes_supported"]
    bounded = next(one for one in told["scopes_supported"] if "?" in one)
    assert granted(["system/*.cruds"], [bounded, "system/Patient.read"]) == (bounded, "system/Patient.rs")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/Patient/{id}"), ("GET", "/Patient?name=x"), ("POST", "/Patient"), ("GET", "/Patient/{id}/_history"),
     ("DELETE", "/Patient/{id}"), ("GET", "/Patient/{id}/$everything")],
)  # fmt: skip
def test_a_withdrawn_token_is_refused_by_the_next_request(world: World, method: str, path: str) -> None:
    made = world.ehr.create({"resourceType": "Patient", "name": [{"family": "Zqone"}]})
    path = path.format(id=made["id"])
    assert world.ehr("GET", f"/Patient/{made['id']}").status_code == 200  # the token is known now
    world.store.write(lambda unit: revoke(unit.clients, "ehr", now_us=wiring.now_us()))
    body = {"resourceType": "Patient"} if method == "POST" else None
    assert world.ehr(method, path, body).status_code == 401
