"""Bundles put together from stored bytes: no resource is parsed to be sent (R4 Bundle)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from gateway.codecs import json_text
from gateway.exchange.ports.resources import Stored
from gateway.exchange.versions import instant
from gateway.kernel.fhir import JsonObject

_STATUS = {"POST": "201 Created", "PUT": "200 OK", "PATCH": "200 OK", "DELETE": "204 No Content"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: the resource's text, its address, and the member that says why it is there."""

    body: bytes = field(repr=False)
    full_url: str = ""
    search: str = ""  # match, include or outcome
    more: bytes = b""  # further members, such as ``"response":{…}``


def link(base: str, type_: str, pairs: Iterable[tuple[str, str]]) -> str:
    """A search address that stands by itself."""
    text = urlencode(list(pairs), quote_via=quote, safe="/:|,$")
    return (f"{base}/{type_}" if type_ else base) + (f"?{text}" if text else "")


def bundle(
    kind: str, entries: Sequence[Entry], *, total: int | None = None, links: Sequence[tuple[str, str]] = ()
) -> bytes:
    """A Bundle of type ``kind``; ``links`` are relation and address."""
    out: list[bytes] = [b'{"resourceType":"Bundle","type":"', kind.encode(), b'"']
    if total is not None:
        out.append(b',"total":%d' % total)
    if links:
        out += (b',"link":', json_text.write([{"relation": relation, "url": url} for relation, url in links]))
    for index, entry in enumerate(entries):
        out.append(b"," if index else b',"entry":[')
        members = []
        if entry.full_url:
            members.append(b'"fullUrl":' + json_text.write(entry.full_url))
        if entry.body:
            members.append(b'"resource":' + entry.body)
        if entry.search:
            members.append(b'"search":{"mode":"' + entry.search.encode() + b'"}')
        if entry.more:
            members.append(entry.more)
        out += (b"{", b",".join(members), b"}")
    out.append(b"]}" if entries else b"}")
    return b"".join(out)


def found(base: str, stored: Stored, body: bytes, mode: str) -> Entry:
    """The entry of a searchset."""
    return Entry(body, f"{base}/{stored.reference}", mode)


def history_entry(base: str, stored: Stored, body: bytes, *, anew: bool = False) -> Entry:
    """The entry of a history: a deletion has no resource (R4 "history"); ``anew``: what was deleted was made again."""
    request = {"method": stored.method if stored.method != "PATCH" else "PATCH", "url": stored.reference}
    if stored.method == "POST":
        request["url"] = stored.type
    status = (
        "201 Created"
        if anew or (stored.version == 1 and stored.method != "DELETE")
        else _STATUS.get(stored.method, "200 OK")
    )
    response: JsonObject = {
        "status": status,
        "etag": f'W/"{stored.version}"',
        "lastModified": instant(stored.updated_us),
    }
    more = json_text.write({"request": request, "response": response})[1:-1]
    return Entry(body, f"{base}/{stored.reference}", "", more)
