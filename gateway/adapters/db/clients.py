"""Clients, tokens and used assertions in the database; names are keys, tokens are kept as digests only."""

from typing import Final

import orjson
from sqlalchemy import Column, LargeBinary, Table, delete, insert, select
from sqlalchemy import bindparam as bind

from gateway.adapters.db.engine import Row, Session, Sql, Statement, upsert
from gateway.adapters.db.schema import METADATA, micros, text_c
from gateway.exchange.ports.clients import Client, Grant

CLIENT: Final = Table(
    "client",
    METADATA,
    text_c("name", primary_key=True),
    text_c("organization"),
    text_c("scopes"),
    text_c("roles"),
    text_c("purposes"),
    text_c("jwks"),
    Column("secret_digest", LargeBinary, nullable=False),
    micros("created_us"),
    micros("revoked_us", nullable=True),
)
TOKEN: Final = Table(
    "client_token",
    METADATA,
    Column("digest", LargeBinary, primary_key=True),
    text_c("client"),
    text_c("scopes"),
    text_c("purposes"),
    micros("expires_us"),
)
ASSERTION: Final = Table(
    "client_assertion",
    METADATA,
    text_c("client", primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    micros("expires_us"),
)
SECRET: Final = Table(
    "gateway_secret",
    METADATA,
    text_c("name", primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

_COLUMNS: Final = [column.name for column in CLIENT.columns]
_GET: Final = Statement(select(CLIENT).where(CLIENT.c.name == bind("name")))
_ALL: Final = Statement(select(CLIENT).order_by(CLIENT.c.name))
_DROP: Final = Statement(delete(CLIENT).where(CLIENT.c.name == bind("name")))
_ADD: Final = Statement(insert(CLIENT))
_GRANT: Final = Sql("SELECT client, scopes, purposes, expires_us FROM client_token WHERE digest = :digest", apart=True)
_ISSUE: Final = Statement(insert(TOKEN))
_WITHDRAW: Final = Statement(delete(TOKEN).where(TOKEN.c.client == bind("client")))
_EXPIRE_TOKENS: Final = Statement(delete(TOKEN).where(TOKEN.c.expires_us < bind("now_us")))
_EXPIRE_ASSERTIONS: Final = Statement(delete(ASSERTION).where(ASSERTION.c.expires_us < bind("now_us")))
_USE: Final = upsert(ASSERTION)
_USED: Final = Statement(
    select(ASSERTION.c.client).where(ASSERTION.c.client == bind("client"), ASSERTION.c.digest == bind("digest"))
)
_SECRET: Final = Statement(select(SECRET.c.value).where(SECRET.c.name == bind("name")))
_KEEP: Final = upsert(SECRET)


def _packed(values: tuple[str, ...]) -> str:
    return orjson.dumps(values).decode()


def _unpacked(text: str) -> tuple[str, ...]:
    return tuple(orjson.loads(text))


def _client(row: Row) -> Client:
    found = dict(zip(_COLUMNS, row, strict=True))
    lists = {name: _unpacked(found.pop(name)) for name in ("scopes", "roles", "purposes")}
    return Client(**{**found, **lists, "secret_digest": bytes(found["secret_digest"])})


class DbClients:
    """The registry over one transaction.

    Args:
        admitted: digests of tokens that were looked up in this transaction already; none are remembered by a snapshot.
    """

    def __init__(self, session: Session, admitted: set[bytes] | None = None) -> None:
        self._session = session
        self.admitted = admitted

    def get(self, name: str) -> Client | None:
        """The client of this name, revoked ones included."""
        row = self._session.run(_GET, name=name).fetchone()
        return _client(row) if row else None

    def all(self) -> list[Client]:
        """Every client, by name."""
        return [_client(row) for row in self._session.run(_ALL).fetchall()]

    def grant(self, token_digest: bytes) -> Grant | None:
        """What the token of this SHA-256 allows; None when it is unknown."""
        row = self._session.run(_GRANT, digest=token_digest).fetchone()
        return Grant(row[0], _unpacked(row[1]), _unpacked(row[2]), row[3]) if row else None

    def used(self, client: str, assertion_digest: bytes) -> bool:
        """Whether it was marked as used."""
        return self._session.run(_USED, client=client, digest=assertion_digest).fetchone() is not None

    def secret(self, name: str) -> bytes | None:
        """A secret of the gateway itself."""
        row = self._session.run(_SECRET, name=name).fetchone()
        return bytes(row[0]) if row else None

    def keep_secret(self, name: str, value: bytes) -> bytes:
        """Keep a secret unless there is one of that name already; the one that is kept."""
        self._session.run(_KEEP, name=name, value=value)
        return self.secret(name) or value

    def put(self, client: Client) -> None:
        """Register, or replace the registration of that name."""
        self._session.run(_DROP, name=client.name)
        self._session.run(
            _ADD,
            name=client.name,
            organization=client.organization,
            scopes=_packed(client.scopes),
            roles=_packed(client.roles),
            purposes=_packed(client.purposes),
            jwks=client.jwks,
            secret_digest=client.secret_digest,
            created_us=client.created_us,
            revoked_us=client.revoked_us,
        )

    def issue(self, token_digest: bytes, grant: Grant) -> None:
        """Keep what a new token allows."""
        self._session.run(
            _ISSUE,
            digest=token_digest,
            client=grant.client,
            scopes=_packed(grant.scopes),
            purposes=_packed(grant.purposes),
            expires_us=grant.expires_us,
        )

    def withdraw(self, client: str) -> int:
        """Forget every token of a client; how many there were."""
        if self.admitted:
            self.admitted.clear()
        return int(self._session.run(_WITHDRAW, client=client).rowcount)

    def use_assertion(self, client: str, assertion_digest: bytes, *, expires_us: int, now_us: int) -> bool:
        """Mark a client assertion as used; False when it was used before: the key decides, so two cannot both win."""
        if self.admitted:
            self.admitted.clear()
        self._session.run(_EXPIRE_ASSERTIONS, now_us=now_us)
        self._session.run(_EXPIRE_TOKENS, now_us=now_us)
        done = self._session.run(_USE, client=client, digest=assertion_digest, expires_us=expires_us)
        return bool(done.rowcount == 1)
