"""Registering clients: what a mistake in a registration says."""

from typing import Any

import pytest

from gateway.adapters.memory.clients import MemoryClients
from gateway.exchange.clients import issue, read_jwks, register, revoke
from gateway.exchange.rest.scopes import Scopes, granted, read_scope
from gateway.kernel.errors import Forbidden, Invalid, NotFound, Unauthorized

GOOD: dict[str, Any] = {"organization": "Organization/h", "scopes": ["system/*.rs"], "now_us": 1}


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"organization": "h"}, "--organization"),
        ({"scopes": []}, "--scope"),
        ({"scopes": ["patient/*.rs"]}, "--scope"),
        ({"scopes": ["system/Patient.sr"]}, "--scope"),
        ({"scopes": ["system/Patient."]}, "--scope"),
        ({"purposes": ["treat me"]}, "--purpose"),
        ({"jwks": "zq"}, "--jwks"),
        ({"jwks": '{"keys":[]}'}, "--jwks"),
        ({"jwks": '{"keys":[{"kty":"oct","k":"zq"}]}'}, "--jwks keys[0]"),
        ({"jwks": '{"keys":[{"kty":"RSA","n":"zq","e":"AQAB"}]}'}, "--jwks keys[0]"),
        ({"jwks": '{"keys":[{"kty":"RSA","n":"zq","d":"zq"}]}'}, "--jwks keys[0]"),
        ({"jwks": '{"keys":[{"kty":"EC","crv":"P-256"}]}'}, "--jwks keys[0]"),
    ],
)
def test_a_registration_that_cannot_be_right_names_the_option(change: dict[str, Any], at: str) -> None:
    with pytest.raises(Invalid) as refused:
        register(MemoryClients(), "ehr", **(GOOD | change))
    assert refused.value.at == at
    assert "zq" not in str(refused.value)


def test_names_tokens_and_revocations_of_unknown_clients() -> None:
    clients = MemoryClients()
    with pytest.raises(Invalid):
        register(clients, "a b", **GOOD)
    with pytest.raises(NotFound):
        revoke(clients, "none", now_us=1)
    with pytest.raises(Unauthorized):
        issue(clients, "none", "t", now_us=1, lifetime_s=1)
    with pytest.raises(Invalid):
        read_jwks("[]")


def test_scopes_are_read_narrowed_and_asked() -> None:
    assert read_scope("system/Patient.read").actions == "rs"
    assert read_scope("system/Patient.cruds?status=a").constraint == "status=a"
    have = ("system/Patient.rs", "system/Task.cru?status=a", "system/*.s")
    assert granted(have, []) == have
    assert granted(have, ["system/Patient.cr", "openid"]) == ("system/Patient.r",)
    assert granted(have, ["system/Task.c?status=a", "system/Task.c"]) == ("system/Task.c?status=a",)
    scopes = Scopes.of(have)
    assert scopes.constraints("Patient", "r") == ("",)
    assert scopes.constraints("Task", "c") == ("status=a",)
    assert scopes.constraints("Task", "s") == ("",)
    with pytest.raises(Forbidden):
        scopes.constraints("Patient", "d")
