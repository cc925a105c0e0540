"""Clients, tokens and used assertions in memory: the same contract as the database, for tests."""

from dataclasses import dataclass, field

from gateway.exchange.ports.clients import Client, Grant


@dataclass(slots=True)
class MemoryClients:
    """The registry in three dictionaries."""

    clients: dict[str, Client] = field(default_factory=dict)
    tokens: dict[bytes, Grant] = field(default_factory=dict)
    assertions: dict[tuple[str, bytes], int] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def admitted(self) -> set[bytes] | None:
        """Nothing is remembered: a look is a dictionary's."""
        return None

    def used(self, client: str, assertion_digest: bytes) -> bool:
        """Whether it was marked as used."""
        return (client, assertion_digest) in self.assertions

    def secret(self, name: str) -> bytes | None:
        """A secret of the gateway itself."""
        return self.secrets.get(name)

    def keep_secret(self, name: str, value: bytes) -> bytes:
        """Keep a secret unless there is one of that name already; the one that is kept."""
        return self.secrets.setdefault(name, value)

    def get(self, name: str) -> Client | None:
        """The client of this name, revoked ones included."""
        return self.clients.get(name)

    def all(self) -> list[Client]:
        """Every client, by name."""
        return [self.clients[name] for name in sorted(self.clients)]

    def grant(self, token_digest: bytes) -> Grant | None:
        """What the token of this SHA-256 allows; None when it is unknown."""
        return self.tokens.get(token_digest)

    def put(self, client: Client) -> None:
        """Register, or replace the registration of that name."""
        self.clients[client.name] = client

    def issue(self, token_digest: bytes, grant: Grant) -> None:
        """Keep what a new token allows."""
        self.tokens[token_digest] = grant

    def withdraw(self, client: str) -> int:
        """Forget every token of a client; how many there were."""
        mine = [digest for digest, grant in self.tokens.items() if grant.client == client]
        for digest in mine:
            del self.tokens[digest]
        return len(mine)

    def use_assertion(self, client: str, assertion_digest: bytes, *, expires_us: int, now_us: int) -> bool:
        """Mark a client assertion as used; False when it was used before."""
        for key in [key for key, until in self.assertions.items() if until < now_us]:
            del self.assertions[key]
        for digest in [digest for digest, grant in self.tokens.items() if grant.expires_us < now_us]:
            del self.tokens[digest]
        if (client, assertion_digest) in self.assertions:
            return False
        self.assertions[(client, assertion_digest)] = expires_us
        return True
