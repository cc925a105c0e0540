"""Use cases around tokens, bound to a store: what the token endpoint and the API's front door need."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.exchange import clients
from gateway.exchange.clients import Caller
from gateway.exchange.ports.clients import Client, Grant
from gateway.exchange.ports.store import Store


@dataclass(frozen=True, slots=True)
class Doors:
    """Who may come in.

    Args:
        store: where clients and tokens are.
        now_us: the clock, microseconds since 1970 UTC.
    """

    store: Store
    now_us: Callable[[], int]

    def caller(self, token: str) -> Caller:
        """Who holds a bearer token.

        Raises:
            Unauthorized: unknown, expired or revoked.
        """
        with self.store.reading() as reading:
            return clients.caller_of(reading.clients, token, now_us=self.now_us())

    def client(self, name: str) -> Client | None:
        """The registered client; None when unknown or revoked."""
        with self.store.reading() as reading:
            found = reading.clients.get(name)
        return found if found is not None and found.revoked_us is None else None

    def use_assertion(self, client: str, assertion: bytes, expires_us: int) -> bool:
        """Mark a ``jti`` as used, durably; False when it was used before."""
        now_us = self.now_us()
        return self.store.write(
            lambda unit: unit.clients.use_assertion(client, assertion, expires_us=expires_us, now_us=now_us)
        )

    def issue(self, client: str, token: str, scopes: list[str], purposes: list[str], lifetime_s: int) -> Grant:
        """Keep a new token of a client.

        Raises:
            Unauthorized, Invalid: as :func:`gateway.exchange.clients.issue`.
        """
        now_us = self.now_us()
        return self.store.write(
            lambda unit: clients.issue(
                unit.clients, client, token, scopes=scopes, purposes=purposes, now_us=now_us, lifetime_s=lifetime_s
            )
        )
