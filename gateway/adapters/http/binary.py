"""Binary in its own format (R4 "Binary", serving binary resources): a PDF goes in and comes out as a PDF.

Who names the format of the content in Accept gets the content; all others get the resource. What comes in a format that
is none of FHIR's becomes the content of a Binary. The resource is stored, labelled, judged and put on record as any
other; only its form on the wire differs.
"""

import base64
import binascii
import re
from typing import Final

from gateway.adapters.http.negotiate import answer_form, is_fhir_form, kinds_of
from gateway.adapters.http.outcome import UnsupportedMedia
from gateway.codecs import json_text
from gateway.codecs.json_text import Document
from gateway.kernel.fhir import JsonObject

BINARY: Final = "Binary"
RAW: Final = "raw"
# what somebody else stored is shown, never run: not by sniffing, not as a page of this server
GUARDS: Final = (("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "sandbox"))
_MEDIA: Final = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}(?:;[\x21-\x7e ]{1,100})?", re.ASCII)


def form_of(accept: str, format_: str) -> str:
    """``raw`` where Accept names a format that is none of FHIR's, else ``json`` or ``xml``.

    Raises:
        NotAcceptable: as :func:`gateway.adapters.http.negotiate.answer_form`.
    """
    other = not format_ and any("*" not in kind and not is_fhir_form(kind) for kind in kinds_of(accept))
    return RAW if other else answer_form(accept, format_)


def content_of(body: bytes, accept: str) -> tuple[bytes, str] | None:
    """The content of a Binary and its media type; None where that is not among what is asked for."""
    resource = json_text.parse(body)
    stated = str(resource.get("contentType", ""))
    if not _MEDIA.fullmatch(stated) or stated.partition(";")[0].strip().lower() not in kinds_of(accept):
        return None
    try:
        return base64.b64decode("".join(str(resource.get("data", "")).split()), validate=True), stated
    except binascii.Error:
        return None


def is_content(content_type: str) -> bool:
    """Whether a body of this Content-Type is the content of a Binary, not a resource."""
    kind = content_type.partition(";")[0].strip().lower()
    return bool(kind) and not is_fhir_form(kind)


def document_of(content: bytes, content_type: str, *, id_: str, security_context: str) -> Document:
    """The Binary with some content.

    Args:
        content_type: of the content; kept as ``contentType``.
        id_: the id of the address it is put to; empty for a create.
        security_context: the header X-Security-Context, a reference that becomes ``securityContext``.

    Raises:
        UnsupportedMedia: not a media type.
    """
    if not _MEDIA.fullmatch(content_type):
        raise UnsupportedMedia("not a media type", at="Content-Type", fix="such as application/pdf")
    made: JsonObject = {"resourceType": BINARY}
    if id_:
        made["id"] = id_
    made["contentType"] = content_type.replace("; ", ";")
    if security_context:
        made["securityContext"] = {"reference": security_context}
    if content:
        made["data"] = base64.b64encode(content).decode()
    return json_text.read(json_text.write(made))
