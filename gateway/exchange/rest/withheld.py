"""A write over a resource of which the writer sees a part: what was withheld from him stands.

To refuse it would tell that something is withheld; to write it through would lose that. So his text replaces what he
saw, and the rest is kept behind it. Version and ETag move as they would if nothing were withheld: not when he sent what
he saw, always when he sent something else, even where the two come out equal (else a guess at what is hidden could be
tried). Afterwards he sees what he saw before: the record stays its owner's (``Stored.owner``).
"""

from gateway.codecs import json_text
from gateway.codecs.json_text import Document
from gateway.consent.redact import restored, spliced
from gateway.exchange.ports.resources import Stored
from gateway.kernel.errors import Forbidden
from gateway.kernel.fhir import JsonObject

_OURS = frozenset({"versionId", "lastUpdated", "security"})  # of meta: the store sets them


def with_withheld(sent: Document, shown: Stored, current: Stored) -> tuple[Document, bool]:
    """What to store of a text ``sent`` over ``current``, of which the writer was ``shown`` a redacted copy.

    Returns:
        The document, and whether it is to become a new version even where it equals the current one.

    Raises:
        Forbidden: a site's table hides elements inside the items of a list, of which nobody can tell which they were.
    """
    whole, seen = json_text.read(current.body, at=current.type), json_text.read(shown.body, at=current.type)
    if _content(whole.resource) == _content(seen.resource):
        return sent, False
    if _said(sent, current.id) == _said(seen, current.id):
        return whole, False
    made = restored(sent, seen.resource, whole)
    if made is None:
        raise Forbidden("a resource of which a part is withheld cannot be changed", at=current.type)
    return made, True


def _content(resource: JsonObject) -> JsonObject:
    return {name: value for name, value in resource.items() if name != "meta"}


def _said(document: Document, id_: str) -> bytes:
    """A text without what the gateway puts into it: the rest of ``meta``, and links, which it keeps itself."""
    plain = {name: value for name, value in document.resource.items() if name != "link"}
    text = spliced(document, plain)
    bare = json_text.read(text) if text is not None else document
    meta = bare.resource.get("meta")
    said = {name: value for name, value in meta.items() if name not in _OURS} if isinstance(meta, dict) else {}
    return json_text.document_with_identity(bare, id_, said)
