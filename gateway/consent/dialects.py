"""How communities read the same Consent differently, as a table: one column a question on which they disagree.

The questions and anchors: FHIR R4 and R5 Consent, IHE Privacy Consent on FHIR (PCF), Google's access control for FHIR,
LEAP's consent decision service, the consent module of the German medical informatics initiative (MII), and the
narratives beside the examples of the R4 specification.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.kernel.fhir import JsonObject


@dataclass(frozen=True, slots=True)
class Dialect:
    """One reading. ``name`` is what a request or an explanation calls it."""

    name: str
    flip: bool = False  # nested types are ignored: each level is the opposite of the one above (LEAP)
    flat: bool = False  # every provision stands alone, deny wins over permit; no exceptions (Google)
    needs_actor: bool = False  # a directive that names no actor is not enforced (Google)
    newest: bool = False  # the latest applicable Consent decides alone (LEAP)
    exact_purpose: bool = False  # no descendants of a stated purpose
    exact_label: bool = False  # no descendants of a stated sensitivity
    exact_confidentiality: bool = False  # the stated Confidentiality itself, not a high-water mark
    union: bool = False  # label, class and code of one provision widen each other instead of narrowing (LEAP)
    related_points_to: bool = False  # data "related": what refers to the instance (PCF); R4 text: what it refers to
    period_is_data: bool = False  # the period of a nested provision is a window on the data (MII)
    code_is_asked: bool = False  # provision.code names a kind of use that is asked for, not content (MII)
    narrative: bool = False  # typeless roots are read as the examples of R4 tell them in words
    silence_is_default: bool = False  # no matching rule in a Consent at hand: the domain's policy is the answer


DIALECTS: Final[Mapping[str, Dialect]] = {
    d.name: d
    for d in (
        Dialect("r4"),
        Dialect("r5"),
        Dialect("pcf", related_points_to=True, silence_is_default=True),
        Dialect("google", flat=True, needs_actor=True, exact_purpose=True, exact_label=True, silence_is_default=True),
        Dialect(
            "leap-flip", flip=True, newest=True, exact_purpose=True, exact_label=True, exact_confidentiality=True,
            union=True,
        ),
        Dialect("mii", period_is_data=True, code_is_asked=True),
        Dialect("r4-spec-narrative", narrative=True, silence_is_default=True),
    )
}  # fmt: skip

_BY_PREFIX: Final = (  # policy.uri, policyRule system, profile or extension URL begins with -> dialect
    ("https://profiles.ihe.net/ITI/PCF", "pcf"),
    ("http://profiles.ihe.net/ITI/PCF", "pcf"),
    ("https://g.co/fhir/medicalrecords/", "google"),
    ("https://www.medizininformatik-initiative.de/fhir/modul-consent", "mii"),
    ("http://fhir.de/ConsentManagement", "mii"),
    ("urn:oid:2.16.840.1.113883.3.1937.777.24.", "mii"),
    ("http://sdhealthconnect.github.io/leap", "leap-flip"),
)


def dialect_of(consent: JsonObject) -> str:
    """The dialect that a Consent shows by its policy, policyRule, profile or extensions; ``r4`` or ``r5`` otherwise."""
    for mark in _marks(consent):
        for prefix, name in _BY_PREFIX:
            if mark.startswith(prefix):
                return name
    return "r5" if is_r5(consent) else "r4"


def is_r5(consent: JsonObject) -> bool:
    """R5 puts ``decision`` at the root and makes ``provision`` a list."""
    if consent.get("decision") is not None:
        return True
    provisions = consent.get("provision")
    if not isinstance(provisions, list):
        return "subject" in consent and "patient" not in consent and "provision" not in consent
    return "patient" not in consent or any(isinstance(p, dict) and "type" not in p for p in provisions)


def _objects(node: Any) -> list[JsonObject]:
    return [one for one in node if isinstance(one, dict)] if isinstance(node, list) else []


def _marks(consent: JsonObject) -> list[str]:
    found: list[Any] = []
    meta = consent.get("meta")
    if isinstance(meta, dict) and isinstance(meta.get("profile"), list):
        found += meta["profile"]
    for entry in _objects(consent.get("policy")):
        found += [entry.get("uri"), entry.get("authority")]
    rule = consent.get("policyRule")
    if isinstance(rule, dict):
        found += [c.get("system") for c in _objects(rule.get("coding"))]
    provision = consent.get("provision")
    for holder in (consent, provision if isinstance(provision, dict) else {}):
        extensions = holder.get("extension")
        found += [e.get("url") for e in extensions if isinstance(e, dict)] if isinstance(extensions, list) else []
    return [mark for mark in found if isinstance(mark, str)]
