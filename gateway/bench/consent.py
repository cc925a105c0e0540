"""Consent decisions against the naive walk, growth with the number of Consents, and the filter of a searchset.

The naive walk is what one writes first: Consents parsed into pydantic models, walked provision by provision for every
resource. It is flat (no frontier, no unknown) and so does less than the engine does.
"""

import time
from collections.abc import Callable, Sequence
from csv import DictReader
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Final

import orjson

from gateway.adapters.files.data import read_data
from gateway.codecs.fhir_json import as_model
from gateway.consent.asked import Asked, ask
from gateway.consent.codes import RANK, Vocabulary, read_vocabulary
from gateway.consent.engine import Program, bind, compile_directive
from gateway.consent.read import read_consent
from gateway.consent.request import AccessRequest, Actor
from gateway.consent.rules import Verdict
from gateway.consent.view import ResourceView, pack, unpack, view_of
from gateway.kernel.fhir import ACT_CODE, ACT_REASON, CONFIDENTIALITY, JsonObject

_NOW: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
_LABELS: Final = ("N", "R", "ETH", "PSY", "SDV", "HIV")
_ROUNDS: Final = 5


def _label(code: str) -> JsonObject:
    return {"system": CONFIDENTIALITY if code in RANK else ACT_CODE, "code": code}


def _consent(number: int) -> JsonObject:
    """One of many Consents of a client: a partner, purposes, a nested denial and its exception."""
    role = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}]}
    who = "h" if number % 2 == 0 else f"partner-{number}"
    inner = {"type": "permit", "class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Observation"}]}
    deny = {"type": "deny", "securityLabel": [_label(_LABELS[1 + number % 5])], "provision": [inner]}
    return {
        "resourceType": "Consent", "id": f"c{number}", "status": "active",
        "scope": {"coding": [{"code": "patient-privacy"}]}, "category": [{"coding": [{"code": "59284-0"}]}],
        "patient": {"reference": "Patient/p"}, "dateTime": "2026-01-01",
        "organization": [{"reference": f"Organization/agency-{number}"}],
        "policy": [{"uri": "https://doorway.example/policy"}],
        "provision": {
            "type": "permit", "period": {"start": "2026-01-01", "end": "2026-12-31"},
            "actor": [{"role": role, "reference": {"reference": f"Organization/{who}"}}],
            "purpose": [{"system": ACT_REASON, "code": "TREAT"}], "provision": [deny],
        },
    }  # fmt: skip


def _resource(number: int) -> JsonObject:
    kind = ("Observation", "Condition", "Encounter", "Task")[number % 4]
    return {
        "resourceType": kind, "id": f"r{number}",
        "meta": {"versionId": "1", "security": [_label("N" if number % 3 else "R"), _label(_LABELS[2 + number % 4])]},
        "status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": f"{number % 40}-1"}]},
        "subject": {"reference": "Patient/p"}, "effectiveDateTime": "2026-03-04",
        "performer": [{"reference": "Organization/lab"}], "encounter": {"reference": f"Encounter/e{number % 9}"},
        "valueQuantity": {"value": number, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"},
    }  # fmt: skip


def _best(work: Callable[[], Any]) -> float:
    """CPU seconds of the quickest of some rounds."""
    took = []
    for _ in range(_ROUNDS):
        start = time.process_time_ns()
        work()
        took.append(time.process_time_ns() - start)
    return max(min(took), 1) / 1e9


def _naive(consents: Sequence[Any], resource: JsonObject) -> bool:
    """Walk pydantic Consents for one resource: deny wins, nested provisions override."""
    labels = {(c["system"], c["code"]) for c in resource["meta"]["security"]}
    permit = deny = False
    for consent in consents:
        if consent.status != "active":
            continue
        said = _walk(consent.provision, resource, labels)
        permit, deny = permit or said is True, deny or said is False
    return permit and not deny


def _walk(provision: Any, resource: JsonObject, labels: set[tuple[str, str]]) -> bool | None:
    period = provision.period
    if period is not None and not (str(period.start)[:10] <= "2026-06-01" <= str(period.end)[:10]):
        return None
    if provision.actor and not any(a.reference.reference == "Organization/h" for a in provision.actor):
        return None
    if provision.purpose and not any(p.code == "TREAT" for p in provision.purpose):
        return None
    classes = getattr(provision, "class_fhir", None) or []
    if classes and not any(c.code == resource["resourceType"] for c in classes):
        return None
    if provision.securityLabel and not any((str(c.system), c.code) in labels for c in provision.securityLabel):
        return None
    for child in provision.provision or ():
        said = _walk(child, resource, labels)
        if said is not None:
            return said
    return bool(provision.type == "permit")


def _programs(count: int, words: Vocabulary) -> list[Program]:
    return [compile_directive(read_consent(_consent(n), zone=UTC, vocabulary=words)) for n in range(count)]


def _decisions(programs: list[Program], asked: Asked, views: list[ResourceView]) -> int:
    """One request: bind, then judge a batch."""
    bound = bind(programs, replace(asked))
    return sum(verdict is Verdict.PERMIT for verdict in bound.judge_all(views))


def _request_phase(programs: list[Program], asked: Asked) -> object:
    """Bind anew: nothing of the request before is kept."""
    asked.answers.clear()
    return bind(programs, asked)


def _percentile(work: Callable[[], Any], *, times: int, share: float) -> float:
    """Microseconds of CPU time below which ``share`` of the calls stay."""
    took = []
    for _ in range(times):
        start = time.thread_time_ns()
        work()
        took.append(time.thread_time_ns() - start)
    return sorted(took)[int(times * share)] / 1e3


def _filter(asked: Asked, programs: list[Program]) -> tuple[float, float]:
    """CPU seconds to filter a searchset of 100 by kept facets, and to parse and serialise the same Bundle."""
    entries = [_resource(n) for n in range(100)]
    facets = [pack(view_of(entry)) for entry in entries]
    bundle = orjson.dumps({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": e} for e in entries]})

    def consent() -> int:
        bound = bind(programs, replace(asked))
        views = [view for view in map(unpack, facets) if view is not None]
        return sum(verdict is Verdict.PERMIT for verdict in bound.judge_all(views))

    def floor() -> int:
        return len(orjson.dumps(orjson.loads(bundle)))

    return _best(lambda: [consent() for _ in range(20)]), _best(lambda: [floor() for _ in range(20)])


def run() -> dict[str, Any]:
    """Rates and ratios; see the issue's floors beside each."""
    words = read_vocabulary(
        DictReader(StringIO(read_data("terminology/consent/hierarchy.csv"))),
        DictReader(StringIO(read_data("terminology/consent/roles.csv"))),
    )
    asked = ask(AccessRequest(now=_NOW, actors=(Actor("Organization/h"),), purposes=("TREAT",)), words)
    resources = [_resource(n) for n in range(1000)]
    views = [view_of(resource) for resource in resources]
    few, many = _programs(3, words), _programs(200, words)
    consents = [as_model(_consent(n)) for n in range(3)]
    ours_few = _best(lambda: _decisions(few, asked, views))
    ours_many = _best(lambda: _decisions(many, asked, views))
    naive = _best(lambda: [_naive(consents, resource) for resource in resources])
    filtering, floor = _filter(asked, few)
    return {
        "decisions a second and core, 3 Consents (200,000 wanted)": round(len(views) / ours_few),
        "naive walk over pydantic Consents / batched decision (at least 20)": naive / ours_few,
        "200 Consents / 3 Consents, time a decision (at most 3)": ours_many / ours_few,
        "request phase of 3 Consents, p99 in microseconds (under 50)": _percentile(
            lambda: _request_phase(few, asked), times=5000, share=0.99
        ),
        "request phase of 3 Consents, median in microseconds": _percentile(
            lambda: _request_phase(few, asked), times=5000, share=0.5
        ),
        "filter of a searchset of 100 / parse and serialise it (at most 1.0)": filtering / floor,
    }
