"""The account of disclosures: what went out about one person, to whom, when, what for and on which consent.

A person is all the records that are linked as one (both say so): what a hospital's record told somebody belongs into
the account of the housing client too.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import orjson

from gateway.consent.view import references_to_patients
from gateway.exchange.audit_event import BECAUSE
from gateway.exchange.ports.audit import AuditReader
from gateway.exchange.ports.resources import ResourceReader
from gateway.kernel.errors import NotFound
from gateway.kernel.fhir import JsonObject, Resource

_PURPOSES: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {"TREAT": "to help you", "ETREAT": "in an emergency", "BTG": "in an emergency, without your agreement",
           "HPAYMT": "for payment", "HOPERAT": "to run the service", "HRESCH": "for research", "": "no reason given"},
    "fr": {"TREAT": "pour vous aider", "ETREAT": "en urgence", "BTG": "en urgence, sans votre accord",
           "HPAYMT": "pour le paiement", "HOPERAT": "pour gérer le service", "HRESCH": "pour la recherche",
           "": "sans raison indiquée"},
}  # fmt: skip
_KINDS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {"Patient": "your name and basic data", "Encounter": "visits", "Observation": "results and answers",
           "Condition": "health conditions", "ServiceRequest": "referrals", "Task": "referral steps",
           "EpisodeOfCare": "where you are enrolled", "CareTeam": "who works with you", "Consent": "your consents",
           "DocumentReference": "documents", "CarePlan": "your plan", "Appointment": "appointments",
           "AllergyIntolerance": "allergies", "Binary": "files", "Communication": "notes", "Coverage": "insurance",
           "DiagnosticReport": "reports", "Flag": "warnings", "Goal": "your goals", "Group": "your household",
           "Immunization": "vaccinations", "MedicationRequest": "medicines", "MedicationStatement": "medicines",
           "Person": "which records are yours", "Procedure": "treatments", "Provenance": "who wrote what",
           "QuestionnaireResponse": "forms that you filled in", "RelatedPerson": "people close to you",
           "": "other records"},
    "fr": {"Patient": "votre nom et vos données de base", "Encounter": "visites", "Observation": "résultats",
           "Condition": "problèmes de santé", "ServiceRequest": "orientations", "Task": "étapes d'orientation",
           "EpisodeOfCare": "où vous êtes inscrit", "CareTeam": "qui travaille avec vous", "Consent": "vos accords",
           "DocumentReference": "documents", "CarePlan": "votre plan", "Appointment": "rendez-vous",
           "AllergyIntolerance": "allergies", "Binary": "fichiers", "Communication": "notes",
           "Coverage": "assurance", "DiagnosticReport": "rapports", "Flag": "alertes", "Goal": "vos objectifs",
           "Group": "votre ménage", "Immunization": "vaccins", "MedicationRequest": "médicaments",
           "MedicationStatement": "médicaments", "Person": "quels dossiers sont les vôtres",
           "Procedure": "traitements", "Provenance": "qui a écrit quoi",
           "QuestionnaireResponse": "formulaires que vous avez remplis", "RelatedPerson": "vos proches",
           "": "autres données"},
}  # fmt: skip
_GROUNDS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {"consent": "by your consent", "of": "of", "rule:own-records": "a record that it made itself",
           "rule:break-glass": "emergency access without your consent", "rule:own-access": "you asked yourself",
           "rule:default": "where no consent says anything", "rule:stand-in": "it belongs to a record that it may see",
           "none": "nothing was disclosed"},
    "fr": {"consent": "selon votre accord", "of": "du", "rule:own-records": "un dossier qu'il a créé lui-même",
           "rule:break-glass": "accès d'urgence sans votre accord", "rule:own-access": "à votre propre demande",
           "rule:default": "là où aucun accord ne dit rien", "rule:stand-in": "lié à un dossier qu'il peut voir",
           "none": "rien n'a été communiqué"},
}  # fmt: skip
LANGUAGES: Final = tuple(_GROUNDS)
_RECORDS_LIMIT: Final = 200  # records of one person that are looked through


@dataclass(frozen=True, slots=True)
class Disclosed:
    """One disclosure that touched a person."""

    recorded: str
    organization: str
    purposes: tuple[str, ...]
    kinds: Mapping[str, int]  # resource type -> how many
    because: tuple[str, ...]
    records: tuple[str, ...] = ()  # which of the person's records it was about

    def told(self) -> JsonObject:
        """For machines."""
        return {
            "recorded": self.recorded, "organization": self.organization, "purposes": list(self.purposes),
            "kinds": dict(self.kinds), "because": list(self.because), "records": list(self.records),
        }  # fmt: skip


def records_of(resources: ResourceReader, patient: str) -> frozenset[str]:
    """The record and all that are linked with it as the same person; a link counts where both records hold it."""
    found = {patient}
    todo = {patient}
    known = _links(resources, todo)
    while todo and len(found) < _RECORDS_LIMIT:
        fresh = {other for one in todo for other in known.get(one, frozenset())} - found
        known.update(_links(resources, fresh))
        todo = {one for one in fresh if not found.isdisjoint(known.get(one, frozenset()))}
        found |= todo
    return frozenset(found)


def _links(resources: ResourceReader, records: Iterable[str]) -> dict[str, frozenset[str]]:
    """For each record those that its own Patient.link names."""
    return {
        reference: references_to_patients(orjson.loads(stored.body)) if stored.body else frozenset()
        for reference, stored in resources.many(sorted(records)).items()
    }


def account_of(resources: ResourceReader, audit: AuditReader, patient: str) -> list[Disclosed]:
    """Every disclosure about a person in the order of time.

    Raises:
        NotFound: there is no such record, and the trail has never heard of one.
    """
    records = records_of(resources, patient)
    marks = [f'"{one}"'.encode() for one in records]
    touching = [one for one in audit.records() if any(mark in one.text for mark in marks)]
    if not touching and not resources.many([patient]):
        raise NotFound("no such record", at="patient", fix="give Patient/id")
    touching.sort(key=lambda one: one.moment)
    return list(disclosures_of((one.event for one in touching), records, _people_of(resources)))


def _people_of(resources: ResourceReader) -> Callable[[str], frozenset[str]]:
    """Whom a resource (``Type/id``) is about by its references, a deleted one by its last text; none: nobody named."""

    @cache
    def people(reference: str) -> frozenset[str]:
        type_, _, id_ = reference.partition("/")
        if type_ == "Patient":
            return frozenset({reference})
        stored = resources.get(type_, id_)
        if stored is not None and stored.deleted:
            stored = resources.version(type_, id_, stored.version - 1)
        return references_to_patients(orjson.loads(stored.body)) if stored is not None and stored.body else frozenset()

    return people


def disclosures_of(
    events: Iterable[Resource], records: Collection[str], people: Callable[[str], Collection[str]]
) -> Iterator[Disclosed]:
    """The disclosures about a person's records among AuditEvents, in their order; refusals and own writes are none.

    Args:
        people: whom a resource that went out is about: one answer may hold records of many.
    """
    for event in events:
        if event.get("outcome") != "0" or event.get("action") not in ("R", "E"):
            continue
        named = [str(e.get("what", {}).get("reference", "")) for e in event.get("entity", ())]
        about = tuple(sorted(set(named).intersection(records)))
        if not about:
            continue
        went = [one.partition("/_history/")[0] for one in named if "/_history/" in one]
        whose = ((one, people(one)) for one in went)
        out = Counter(
            one.partition("/")[0] for one, others in whose if not others or not set(others).isdisjoint(records)
        )
        if not out:
            continue
        yield Disclosed(
            recorded=str(event.get("recorded", "")),
            organization=_receiver(event),
            purposes=tuple(c["code"] for p in event.get("purposeOfEvent", ()) for c in p.get("coding", ())),
            kinds=dict(sorted(out.items())),
            because=tuple(
                str(d.get("valueString")) for e in event.get("entity", ()) for d in e.get("detail", ())
                if d.get("type") == BECAUSE
            ),
            records=about,
        )  # fmt: skip


def _receiver(event: Resource) -> str:
    """The organization that received it, else whoever else is named."""
    who = [agent.get("who", {}) for agent in event.get("agent", ())]
    named = [str(one["reference"]) for one in who if "reference" in one]
    told = [str(one.get("identifier", {}).get("value", "")) for one in who]
    return next(
        (one for one in named if one.startswith("Organization/")), next(iter((*named, *filter(None, told))), "")
    )


def consents_of(found: Iterable[Disclosed]) -> set[str]:
    """``Consent/id`` of every Consent that the disclosures rest on."""
    named = {one for each in found for one in each.because if one.startswith("Consent/")}
    return {one.partition("#")[0].partition("/_history/")[0] for one in named}


def nothing(language: str) -> str:
    """What an empty account says."""
    return _GROUNDS[language]["none"]


def sentence(one: Disclosed, names: Mapping[str, str], language: str, signed: Mapping[str, str] | None = None) -> str:
    """One disclosure in plain words.

    Args:
        names: of organizations by reference.
        signed: the day on which each Consent was given, by reference.
    """
    who = names.get(one.organization, one.organization)
    words: dict[str, int] = {}
    for kind, count in one.kinds.items():
        word = _KINDS[language].get(kind, _KINDS[language][""])
        words[word] = words.get(word, 0) + count
    kinds = ", ".join(f"{word} ({count})" for word, count in words.items())
    why = ", ".join(_PURPOSES[language].get(p, p) for p in one.purposes or ("",))
    verb = {"en": "saw", "fr": "a vu :"}[language]
    grounds = ", ".join(dict.fromkeys(_ground(each, language, signed or {}) for each in one.because)).strip(", ")
    told = f"{one.recorded[:16].replace('T', ' ')}  {who} {verb} {kinds}; {why}"
    return f"{told}; {grounds}" if grounds else told


def _ground(because: str, language: str, signed: Mapping[str, str]) -> str:
    words = _GROUNDS[language]
    if not because.startswith("Consent/"):
        return words.get(because, "")
    day = signed.get(because.partition("/_history/")[0].partition("#")[0], "")
    return f"{words['consent']} {words['of']} {day}" if day else words["consent"]
