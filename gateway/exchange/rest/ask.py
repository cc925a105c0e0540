"""What is asked of the REST API, and what it answers, without HTTP."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Self

from gateway.consent.request import AccessRequest
from gateway.exchange.clients import Caller
from gateway.exchange.ports.resources import Stored
from gateway.kernel.errors import Malformed

NOTICE: Final = "X-Doorway-Notice"  # header: codes of the notices under which a disclosure stands
ANY_VERSION: Final = -1  # ``If-Match: *``: whichever version there is, but there must be one (RFC 9110, 13.1.1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = [(_EPOCH, 0)]  # the instant that was asked for last, and its microseconds; replaced as one


def version_of(tag: str, *, at: str) -> int | None:
    """The version that If-Match names (``W/"3"``, or ``*`` for any); None when nothing is named.

    Raises:
        Malformed: not an ETag of ours.
    """
    text = tag.strip()
    if not text:
        return None
    if text == "*":
        return ANY_VERSION
    text = text.removeprefix("W/").strip('"')
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Malformed("not a version", at=at, fix='write W/"1", or * for any')
    return int(text)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: who, when, under which address, and the conditions and preferences that came with it.

    ``base`` is the service base URL without a trailing slash, as partners see it. ``if_match`` is a version or
    ``ANY_VERSION``, ``if_none_match`` a version or ``*``, ``if_none_exist`` a search.
    """

    caller: Caller
    now: datetime
    base: str
    id: str = ""  # X-Request-Id, for the audit record
    address: str = ""  # network address of the peer, for the audit record
    handling: str = ""  # strict, lenient or empty
    returning: str = "representation"
    if_match: int | None = None
    if_none_match: str = ""
    if_modified_since_us: int | None = None
    if_none_exist: str = ""
    respond_async: bool = False
    reason: str = field(default="", repr=False)  # of an emergency (break-glass), on reads and searches only
    written: "list[Stored] | None" = field(default=None, repr=False)  # collects what a transaction writes

    @property
    def now_us(self) -> int:
        """The instant in microseconds since 1970 UTC."""
        now, us = _LAST[0]
        if now is not self.now:  # asked for several times in one request
            since = self.now - _EPOCH
            us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
            _LAST[0] = self.now, us
        return us

    @property
    def client(self) -> str:
        """The registered client's name: the source of what it writes."""
        return self.caller.client.name

    def request(self, action: str = "access") -> AccessRequest:
        """The question that consent decides on."""
        return self.caller.request(self.now, action=action)

    def inside(
        self, *, if_match: int | None, if_none_match: str, if_modified_since_us: int | None, if_none_exist: str
    ) -> Self:
        """The same caller asking for one entry of a Bundle, with that entry's conditions."""
        return replace(
            self,
            if_match=if_match,
            if_none_match=if_none_match,
            if_modified_since_us=if_modified_since_us,
            if_none_exist=if_none_exist,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. ``body`` is FHIR JSON; ``location`` is relative to the base (``Patient/1/_history/2``)."""

    status: int
    body: bytes = field(default=b"", repr=False)
    version: int | None = None
    updated_us: int | None = None
    location: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Callable[[], Iterator[bytes]] | None = field(default=None, repr=False)  # a body sent piece by piece

    def under(self, notices: Sequence[str]) -> Self:
        """The answer with the notices that travel with it in its headers."""
        return replace(self, headers={**self.headers, NOTICE: ", ".join(notices)}) if notices else self

    @classmethod
    def of(cls, status: int, stored: Stored, body: bytes, *, location: bool = False) -> Self:
        """The answer about one version of a resource."""
        where = f"{stored.reference}/_history/{stored.version}" if location else ""
        return cls(status, body, stored.version, stored.updated_us, where)
