"""The consent form: what a client must be told, versioned by hash, and the rule by which a Consent may become active.

A form is a table a jurisdiction (terminology/consent/forms). Its version is a hash of everything that is shown in one
language, so a signature is always about an exact text. What was told is recorded in a QuestionnaireResponse: one
``item.linkId`` a statement, its answer true.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from gateway.consent.view import local
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import DOORWAY, JsonObject, Resource

FORM: Final = f"{DOORWAY}/Questionnaire/consent-form"  # …-us-en|<version>, …-ca-fr|<version>
LANGUAGES: Final = ("en", "fr")
UNTOLD: Final = f"{DOORWAY}/StructureDefinition/consent-untold"  # extension of a Consent whose record was taken away


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that a client is told: its key, whether the jurisdiction demands it, and the words."""

    number: int
    key: str
    required: bool
    citation: str
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Form:
    """A jurisdiction's form in one language."""

    jurisdiction: str
    language: str
    statements: tuple[Statement, ...]
    version: str

    @property
    def canonical(self) -> str:
        """What a QuestionnaireResponse names: address and version."""
        return f"{FORM}-{self.jurisdiction}-{self.language}|{self.version}"

    @property
    def required(self) -> frozenset[str]:
        """Keys of the statements that must be recorded."""
        return frozenset(one.key for one in self.statements if one.required)


def read_form(rows: Iterable[Mapping[str, str]], jurisdiction: str, language: str) -> Form:
    """From the rows of terminology/consent/forms/<jurisdiction>.csv.

    Raises:
        Invalid: a language that the form is not written in, or a row without words in it.
    """
    if language not in LANGUAGES:
        raise Invalid("the form is not written in this language", at="language", fix="en or fr")
    statements = []
    for line, row in enumerate(rows, start=2):
        heading, text = row[f"heading_{language}"], row[f"text_{language}"]
        if not heading or not text:
            raise Invalid("no words", at=f"terminology/consent/forms/{jurisdiction}.csv:{line}")
        statements.append(
            Statement(int(row["number"]), row["statement"], row["required"] == "yes", row["citation"], heading, text)
        )
    shown = "\n".join(f"{s.number}|{s.key}|{s.required}|{s.heading}|{s.text}" for s in statements)
    version = sha256(f"{jurisdiction}|{language}|{shown}".encode()).hexdigest()[:16]
    return Form(jurisdiction, language, tuple(statements), version)


def names_our_form(consent: Resource) -> bool:
    """Whether a Consent says that it was given on a form of ours (policy.uri)."""
    policies = consent.get("policy")
    return any(
        isinstance(p, dict) and isinstance(p.get("uri"), str) and p["uri"].startswith(FORM)
        for p in (policies if isinstance(policies, list) else ())
    )


def missing_statements(consent: Resource, response: Resource | None, forms: Iterable[Form]) -> list[str]:
    """Why a Consent on our form may not be active; empty when it may.

    Args:
        response: the QuestionnaireResponse that the Consent's source points to.
        forms: every form in every language, current versions.
    """
    uris = [p["uri"] for p in consent.get("policy", ()) if isinstance(p, dict) and isinstance(p.get("uri"), str)]
    known = {form.canonical: form for form in forms}
    form = next((known[uri] for uri in uris if uri in known), None)
    if form is None:
        return ["policy: names no current version of the form, so nobody can tell what was shown"]
    if response is None:
        return ["sourceReference: what was told to the client is not recorded"]
    if response.get("questionnaire") != form.canonical:
        return ["QuestionnaireResponse.questionnaire: not the version that the Consent names"]
    if _named(response, "subject") != _named(consent, "patient") or not _named(consent, "patient"):
        return ["QuestionnaireResponse.subject: not the patient of the Consent"]
    if response.get("status") != "completed":
        return ["QuestionnaireResponse.status: not completed"]
    told = {key for key, yes in _answers(response) if yes}
    return [f"statement {key} is not recorded" for key in sorted(form.required - told)]


def untold(consent: Resource) -> bool:
    """Whether it is marked that what the client was told is not on record any more (exchange/consent_forms.py)."""
    return any(one.get("url") == UNTOLD for one in _listed(consent.get("extension")))


def marked_untold(consent: Resource, *, yes: bool) -> list[JsonObject]:
    """The extensions of a Consent with or without that mark."""
    kept = [one for one in _listed(consent.get("extension")) if one.get("url") != UNTOLD]
    return [*kept, {"url": UNTOLD, "valueBoolean": True}] if yes else kept


def _listed(node: Any) -> list[JsonObject]:
    return [one for one in node if isinstance(one, dict)] if isinstance(node, list) else []


def form_of(uri: str) -> str:
    """Which form of ours a policy.uri names, whatever its version and language; empty when none."""
    return uri.partition("|")[0].rpartition("-")[0] if uri.startswith(f"{FORM}-") else ""


def form_signed(consent: Resource) -> str:
    """What was signed, for people: our form with its version, else the source or the policies that are named."""
    policies = consent.get("policy")
    listed = policies if isinstance(policies, list) else []
    uris = [p["uri"] for p in listed if isinstance(p, dict) and isinstance(p.get("uri"), str)]
    ours = [uri for uri in uris if form_of(uri)]
    if ours:
        return f"form {ours[0]}"
    attached = consent.get("sourceAttachment")
    attached = attached if isinstance(attached, dict) else {}
    parts = [str(attached[key]) for key in ("url", "title", "hash") if key in attached]
    named = [_named(consent, "sourceReference"), *parts]
    return ", ".join([*(f"source {one}" for one in named if one), *(f"policy {uri}" for uri in uris)])


def _named(resource: Resource, element: str) -> str:
    node = resource.get(element)
    literal = node.get("reference") if isinstance(node, dict) else None
    return local(literal) if isinstance(literal, str) else ""


def _answers(response: JsonObject) -> Iterator[tuple[str, bool]]:
    items = response.get("item")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            answers: Any = item.get("answer")
            yield (
                str(item.get("linkId", "")),
                any(
                    isinstance(a, dict) and a.get("valueBoolean") is True
                    for a in (answers if isinstance(answers, list) else ())
                ),
            )


def recorded(form: Form, patient: str) -> Resource:
    """A QuestionnaireResponse with every statement told: the shape that a consent wizard fills in."""
    return {
        "resourceType": "QuestionnaireResponse",
        "questionnaire": form.canonical,
        "status": "completed",
        "language": form.language,
        "subject": {"reference": patient},
        "item": [
            {"linkId": one.key, "text": one.heading, "answer": [{"valueBoolean": True}]} for one in form.statements
        ],
    }
