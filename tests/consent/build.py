"""Small Consents, resources and requests for tests, and strategies that make random ones."""

from collections.abc import Iterable
from csv import DictReader
from datetime import UTC, datetime
from functools import cache
from io import StringIO
from typing import Any

from hypothesis import strategies as st

from gateway.adapters.files.data import read_data
from gateway.consent.asked import Asked, ask
from gateway.consent.codes import Vocabulary, read_vocabulary
from gateway.consent.engine import Program, compile_directive
from gateway.consent.read import read_consent
from gateway.consent.request import AccessRequest, Actor
from gateway.consent.rules import Directive
from gateway.kernel.fhir import ACT_CODE, ACT_REASON, CONFIDENTIALITY, JsonObject

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
PATIENT = "Patient/p"
ROLE = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
LOINC = "http://loinc.org"


@cache
def words() -> Vocabulary:
    """The shipped vocabulary."""
    return read_vocabulary(
        DictReader(StringIO(read_data("terminology/consent/hierarchy.csv"))),
        DictReader(StringIO(read_data("terminology/consent/roles.csv"))),
    )


def purposes(*codes: str) -> list[JsonObject]:
    """Codings of PurposeOfUse."""
    return [{"system": ACT_REASON, "code": code} for code in codes]


def label(code: str) -> JsonObject:
    """A Confidentiality for U L M N R V, a sensitivity otherwise."""
    return {"system": CONFIDENTIALITY if code in "ULMNRV" else ACT_CODE, "code": code}


def labels(*codes: str) -> list[JsonObject]:
    """Security labels."""
    return [label(code) for code in codes]


def actor(reference: str, role: str = "IRCP") -> JsonObject:
    """An actor of a provision."""
    return {"role": {"coding": [{"system": ROLE, "code": role}]}, "reference": {"reference": reference}}


def consent(provision: JsonObject | None = None, id_: str = "c", **more: Any) -> JsonObject:
    """An active R4 Consent of the patient."""
    base: JsonObject = {
        "resourceType": "Consent",
        "id": id_,
        "status": "active",
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"coding": [{"system": LOINC, "code": "59284-0"}]}],
        "patient": {"reference": PATIENT},
        "dateTime": "2026-01-01",
        "organization": [{"reference": "Organization/agency"}],
    }
    if provision is not None:
        base["provision"] = provision
    return base | more


def observation(id_: str = "o", *security: str, **more: Any) -> JsonObject:
    """An Observation of the patient with these labels."""
    base: JsonObject = {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "2339-0"}]},
        "subject": {"reference": PATIENT},
    }
    if security:
        base["meta"] = {"security": labels(*security)}
    return base | more


def request(*actors: str, purposes: Iterable[str] = ("TREAT",), **more: Any) -> AccessRequest:
    """A request of these actors."""
    given: dict[str, Any] = {"now": NOW, "actors": tuple(Actor(a) for a in actors), "purposes": tuple(purposes)}
    return AccessRequest(**given | more)


def asked(*actors: str, related: Iterable[JsonObject] = (), **more: Any) -> Asked:
    """A request ready for rules."""
    return ask(request(*actors, **more), words(), related)


def directive(resource: JsonObject, dialect: str = "", **more: Any) -> Directive:
    """A Consent as read."""
    return read_consent(resource, zone=UTC, vocabulary=words(), dialect=dialect, **more)


def program(resource: JsonObject, dialect: str = "") -> Program:
    """A Consent as compiled."""
    return compile_directive(directive(resource, dialect))


def line(consents: list[Any], resources: list[JsonObject] | None = None, **more: Any) -> JsonObject:
    """A request line of consent decide."""
    out: JsonObject = {
        "id": "q",
        "now": "2026-06-01T12:00:00Z",
        "consents": consents,
        "asker": {"actors": [{"reference": "Organization/h"}], "purposes": ["TREAT"]},
    }
    if resources is not None:
        out["resources"] = resources
    return out | more


# ---- random ones

_PURPOSES = ["TREAT", "ETREAT", "BTG", "HRESCH", "CLINTRCH", "HPAYMT"]
_LABELS = ["N", "R", "V", "ETH", "ETHUD", "PSY", "PSYTHPN", "SDV"]
_ACTORS = ["Practitioner/a", "Organization/h", "Group/g"]
_CLASSES = ["Observation", "Condition", "Encounter"]
_CODES = ["2339-0", "29463-7"]


def _some(values: list[str], most: int = 2) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


_dates = st.sampled_from(["2025-01-01", "2026-01-01", "2026-06-01", "2026-12-31", "2027"])


def _period() -> st.SearchStrategy[JsonObject]:
    return st.fixed_dictionaries({}, optional={"start": _dates, "end": _dates})


_CRITERIA: dict[str, st.SearchStrategy[Any]] = {
    "purpose": _some(_PURPOSES).map(lambda codes: purposes(*codes)),
    "actor": _some(_ACTORS).map(lambda refs: [actor(ref) for ref in refs]),
    "action": st.just([{"coding": [{"code": "access"}]}]) | st.just([{"coding": [{"code": "correct"}]}]),
    "period": _period(),
    "securityLabel": _some(_LABELS).map(lambda codes: labels(*codes)),
    "class": _some(_CLASSES).map(
        lambda codes: [{"system": "http://hl7.org/fhir/resource-types", "code": c} for c in codes]
    ),
    "code": _some(_CODES).map(lambda codes: [{"coding": [{"system": LOINC, "code": c} for c in codes]}]),
    "dataPeriod": _period(),
    "data": st.tuples(
        st.sampled_from(["instance", "related", "dependents", "authoredby"]),
        st.sampled_from(["Observation/o", "Encounter/e", "Practitioner/w"]),
    ).map(lambda pair: [{"meaning": pair[0], "reference": {"reference": pair[1]}}]),
}


def criteria() -> st.SearchStrategy[JsonObject]:
    """Up to two criteria of a provision."""
    return st.lists(st.sampled_from(sorted(_CRITERIA)), max_size=2, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: _CRITERIA[name] for name in names})
    )


def provisions(depth: int = 5) -> st.SearchStrategy[JsonObject]:
    """Trees of typed provisions."""
    node = st.builds(lambda t, c: {"type": t, **c}, st.sampled_from(["permit", "deny"]), criteria())
    if depth <= 1:
        return node
    children = st.lists(provisions(depth - 1), max_size=2)
    return st.builds(lambda n, c: {**n, "provision": c} if c else n, node, children)


def resources() -> st.SearchStrategy[JsonObject]:
    """Resources that differ in what rules look at."""
    return st.builds(
        _resource,
        st.sampled_from(_CLASSES),
        st.lists(st.sampled_from(_LABELS), max_size=2, unique=True),
        st.sampled_from([*_CODES, ""]),
        st.sampled_from(["", "2025-06-01", "2026-06-01", "2027-06-01"]),
        st.booleans(),
        st.booleans(),
    )


def _resource(kind: str, security: list[str], code: str, day: str, pointing: bool, written: bool) -> JsonObject:
    out: JsonObject = {"resourceType": kind, "id": kind[0].lower(), "subject": {"reference": PATIENT}}
    if security:
        out["meta"] = {"security": labels(*security)}
    if kind != "Encounter":
        out["code"] = {"coding": [{"system": LOINC, "code": code}]} if code else {"text": "in words"}
    if day:
        times: dict[str, JsonObject] = {
            "Observation": {"effectiveDateTime": day},
            "Condition": {"recordedDate": day},
            "Encounter": {"period": {"start": day}},
        }
        out |= times[kind]
    if pointing and kind != "Encounter":
        out["encounter"] = {"reference": "Encounter/e"}
    if written:
        out["recorder" if kind == "Condition" else "performer"] = {"reference": "Practitioner/w"}
    return out


def requests() -> st.SearchStrategy[Asked]:
    """Requests with several actors and purposes."""
    related = [{"resourceType": "Group", "id": "g", "member": [{"entity": {"reference": "Practitioner/a"}}]}]
    return st.builds(
        lambda actors, codes, action, known: asked(
            *actors, purposes=codes, action=action, related=related if known else ()
        ),
        st.lists(st.sampled_from(["Practitioner/a", "Organization/h", "Practitioner/z"]), max_size=2, unique=True),
        st.lists(st.sampled_from(_PURPOSES), max_size=2, unique=True),
        st.sampled_from(["access", "read", "correct"]),
        st.booleans(),
    )
