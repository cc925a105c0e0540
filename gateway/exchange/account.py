"""The account of disclosures: what went out about one person, to whom, when, what for and on which consent."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.exchange.audit_event import BECAUSE
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
           "DocumentReference": "documents", "CarePlan": "your plan", "Appointment": "appointments"},
    "fr": {"Patient": "votre nom et vos données de base", "Encounter": "visites", "Observation": "résultats",
           "Condition": "problèmes de santé", "ServiceRequest": "orientations", "Task": "étapes d'orientation",
           "EpisodeOfCare": "où vous êtes inscrit", "CareTeam": "qui travaille avec vous", "Consent": "vos accords",
           "DocumentReference": "documents", "CarePlan": "votre plan", "Appointment": "rendez-vous"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Disclosed:
    """One disclosure that touched a person."""

    recorded: str
    organization: str
    purposes: tuple[str, ...]
    kinds: Mapping[str, int]  # resource type -> how many
    because: tuple[str, ...]

    def told(self) -> JsonObject:
        """For machines."""
        return {
            "recorded": self.recorded, "organization": self.organization, "purposes": list(self.purposes),
            "kinds": dict(self.kinds), "because": list(self.because),
        }  # fmt: skip


def disclosures_of(events: Iterable[Resource], patient: str) -> Iterator[Disclosed]:
    """The disclosures about ``patient`` among AuditEvents, in their order; refusals and own writes are none."""
    for event in events:
        if event.get("outcome") != "0" or event.get("action") not in ("R", "E"):
            continue
        named = [str(e.get("what", {}).get("reference", "")) for e in event.get("entity", ())]
        out = Counter(one.partition("/")[0] for one in named if "/_history/" in one)
        if patient not in named or not out:
            continue
        yield Disclosed(
            recorded=str(event.get("recorded", "")),
            organization=next(
                (str(a["who"]["reference"]) for a in event.get("agent", ()) if "reference" in a.get("who", {})), ""
            ),
            purposes=tuple(c["code"] for p in event.get("purposeOfEvent", ()) for c in p.get("coding", ())),
            kinds=dict(sorted(out.items())),
            because=tuple(
                str(d.get("valueString")) for e in event.get("entity", ()) for d in e.get("detail", ())
                if d.get("type") == BECAUSE
            ),
        )  # fmt: skip


def sentence(one: Disclosed, names: Mapping[str, str], language: str) -> str:
    """One disclosure in plain words."""
    who = names.get(one.organization, one.organization)
    kinds = ", ".join(f"{_KINDS[language].get(kind, kind)} ({count})" for kind, count in one.kinds.items())
    why = ", ".join(_PURPOSES[language].get(p, p) for p in one.purposes or ("",))
    verb = {"en": "saw", "fr": "a vu :"}[language]
    return f"{one.recorded[:16].replace('T', ' ')}  {who} {verb} {kinds}; {why}"
