"""Registered API clients, the tokens they hold, and the assertions they have used up."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Client:
    """A system that may call the API: whose it is, what it may touch, in which roles and for which purposes.

    ``organization`` (``Organization/id``) is what consent decides on. ``scopes`` are SMART v2 system scopes, ``roles``
    ``system|code``, ``purposes`` v3 PurposeOfUse codes. It proves itself by ``jwks`` (public keys, JSON) or by the
    SHA-256 of a secret.
    """

    name: str
    organization: str
    scopes: tuple[str, ...]
    roles: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ("TREAT",)
    jwks: str = ""
    secret_digest: bytes = field(default=b"", repr=False)
    created_us: int = 0
    revoked_us: int | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What one bearer token allows; the token itself is nowhere kept, only its SHA-256."""

    client: str
    scopes: tuple[str, ...]
    purposes: tuple[str, ...]
    expires_us: int


class ClientReader(Protocol):
    """Reads of the registry."""

    @property
    def admitted(self) -> set[bytes] | None:
        """Digests of tokens that were found good in this transaction; None where nothing is remembered."""
        ...

    def get(self, name: str) -> Client | None:
        """The client of this name, revoked ones included."""
        ...

    def all(self) -> list[Client]:
        """Every client, by name."""
        ...

    def grant(self, token_digest: bytes) -> Grant | None:
        """What the token of this SHA-256 allows; None when it is unknown."""
        ...

    def used(self, client: str, assertion_digest: bytes) -> bool:
        """Whether an assertion, or another thing that counts once, was marked as used."""
        ...

    def secret(self, name: str) -> bytes | None:
        """A secret of the gateway itself, shared by its processes (such as the key of page cursors)."""
        ...


class Clients(ClientReader, Protocol):
    """Reads and writes inside one transaction."""

    def put(self, client: Client) -> None:
        """Register, or replace the registration of that name."""
        ...

    def issue(self, token_digest: bytes, grant: Grant) -> None:
        """Keep what a new token allows."""
        ...

    def keep_secret(self, name: str, value: bytes) -> bytes:
        """Keep a secret unless there is one of that name already; the one that is kept."""
        ...

    def withdraw(self, client: str) -> int:
        """Forget every token of a client; how many there were."""
        ...

    def use_assertion(self, client: str, assertion_digest: bytes, *, expires_us: int, now_us: int) -> bool:
        """Mark a client assertion (its ``jti``) as used; False when it was used before. Expired marks and tokens go."""
        ...
