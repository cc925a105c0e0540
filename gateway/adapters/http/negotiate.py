"""What the caller wants back and in which form: ``_format``, Accept, Content-Type, ``_pretty``, Prefer (R4 "HTTP")."""

from dataclasses import dataclass
from typing import Final

from gateway.adapters.http.outcome import NotAcceptable, UnsupportedMedia
from gateway.kernel.fhir import FHIR_JSON

FHIR_XML: Final = "application/fhir+xml"
_FORMS: Final = {
    "json": "json", "application/json": "json", FHIR_JSON: "json", "text/json": "json",
    "application/*": "json", "*/*": "json", "text/*": "json",
    "xml": "xml", "application/xml": "xml", FHIR_XML: "xml", "text/xml": "xml",
}  # fmt: skip
_BODIES: Final = {
    FHIR_JSON: "json", "application/json": "json", "text/json": "json",
    FHIR_XML: "xml", "application/xml": "xml", "text/xml": "xml",
    "application/json-patch+json": "json-patch", "application/x-www-form-urlencoded": "form",
}  # fmt: skip
CONTENT_TYPE: Final = {"json": f"{FHIR_JSON};charset=utf-8", "xml": f"{FHIR_XML};charset=utf-8"}


def _quality(part: str) -> tuple[str, float, dict[str, str]]:
    kind, *rest = (piece.strip() for piece in part.split(";"))
    parameters = {name.strip().lower(): value.strip().strip('"') for name, _, value in (p.partition("=") for p in rest)}
    try:
        weight = float(parameters.get("q", "1"))
    except ValueError:
        weight = 0.0
    return kind.lower(), weight, parameters


def kinds_of(accept: str) -> frozenset[str]:
    """The media types that an Accept header takes."""
    return frozenset(kind for kind, weight, _ in map(_quality, accept.split(",")) if kind and weight > 0)


def is_fhir_form(kind: str) -> bool:
    """Whether a media type is one in which resources are written."""
    return kind in _FORMS


def _version_fits(parameters: dict[str, str]) -> bool:
    return parameters.get("fhirversion", "4.0").startswith("4.0")


def answer_form(accept: str, format_: str) -> str:
    """``json`` or ``xml``: ``_format`` wins over Accept; without either JSON.

    Raises:
        NotAcceptable: only forms that we do not have, or another FHIR version.
    """
    if format_:
        kind, _, parameters = _quality(format_.replace(" ", "+"))  # an unescaped + arrives as a space
        found = _FORMS.get(kind)
        if found is None or not _version_fits(parameters):
            raise NotAcceptable("no such format", at="_format", fix=f"{FHIR_JSON} or {FHIR_XML}, FHIR 4.0")
        return found
    if not accept or accept == FHIR_JSON:
        return "json"
    wanted = sorted((_quality(part) for part in accept.split(",") if part.strip()), key=lambda each: -each[1])
    for kind, weight, parameters in wanted:
        if weight > 0 and kind in _FORMS and _version_fits(parameters):
            return _FORMS[kind]
    raise NotAcceptable("no such format", at="Accept", fix=f"{FHIR_JSON} or {FHIR_XML}, FHIR 4.0")


def body_form(content_type: str, allowed: tuple[str, ...]) -> str:
    """Which of the ``allowed`` forms (``json``, ``xml``, ``json-patch``, ``form``) the body has.

    Raises:
        UnsupportedMedia: another type, another character set, or no Content-Type at all.
    """
    if content_type == FHIR_JSON and "json" in allowed:
        return "json"
    kind, _, parameters = _quality(content_type)
    found = _BODIES.get(kind)
    names = ", ".join(name for name, form in _BODIES.items() if form in allowed and ("+" in name or form == "form"))
    if found not in allowed or not _version_fits(parameters):
        raise UnsupportedMedia("this Content-Type is not taken here", at="Content-Type", fix=names)
    if parameters.get("charset", "utf-8").lower().replace("_", "-") not in {"utf-8", "utf8", "us-ascii"}:
        raise UnsupportedMedia("only UTF-8 is taken", at="Content-Type", fix="charset=utf-8")
    return found


@dataclass(frozen=True, slots=True)
class Preferences:
    """The Prefer header: what to return after a write, how strict a search is, and whether to answer later."""

    returning: str = "representation"  # minimal, representation or OperationOutcome
    handling: str = ""  # strict, lenient or not said
    respond_async: bool = False


_PLAIN: Final = Preferences()


def read_preferences(header: str) -> Preferences:
    """Read Prefer (RFC 7240); what is not known is ignored, as the RFC says."""
    if not header:
        return _PLAIN
    values: dict[str, str] = {}
    for part in header.replace(";", ",").split(","):
        name, _, value = part.strip().partition("=")
        values.setdefault(name.strip().lower(), value.strip().strip('"'))
    returning = values.get("return", "representation")
    handling = values.get("handling", "")
    return Preferences(
        returning if returning in {"minimal", "representation", "OperationOutcome"} else "representation",
        handling if handling in {"strict", "lenient"} else "",
        "respond-async" in values,
    )
