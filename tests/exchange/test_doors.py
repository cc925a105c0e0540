"""Every door, walked for a client who declined and for one of a victim service provider: they are as if not there.

The client who declined signed a denial of everything; the victim service provider's client signed that everything may
be shared, and the law stands above it. Both are the same person as somebody whom the asker sees, so that linking,
matching and reviewing would show them first; both share a name, and their records point at visible ones.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from gateway import wiring
from gateway.adapters.memory.store import MemoryStore
from gateway.consent.law import HANDLING
from gateway.exchange.agreements import agree
from gateway.exchange.ports.outbox import OutState
from gateway.exchange.ports.resources import Draft
from gateway.kernel.fhir import JsonObject
from gateway.settings import Settings
from tests.adapters.http.conftest import Caller, Http, token_for
from tests.adapters.http.test_break_glass import caller
from tests.adapters.mllp.test_queries import PERSON, Hub, patient, told
from tests.adapters.mllp.test_queries import consent as signed_for_west
from tests.exchange.test_non_interference import EPOCH_US, HOSPITAL, PERMIT, TWIN, about, answer, consent, person
from tests.exchange.test_non_interference_out import EXPORTS, GROUP, HIDDEN_REFERRAL, REFERRAL, exported, sent
from tests.support.stores import DERIVED

VSP: Final[JsonObject] = {"system": HANDLING, "code": "VSP"}
NORMAL: Final[JsonObject] = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "N"}
REVIEWER: Final = "urn:roles|reviewer"
KINDS: Final[Mapping[str, tuple[JsonObject, JsonObject]]] = {  # what was signed, and the label of the records
    "declined": ({"type": "deny"}, NORMAL),
    "victim service": ({"type": "permit"}, VSP),
}
OF_THE_CLIENT: Final[list[JsonObject]] = [
    {"resourceType": "List", "id": "list", "status": "current", "mode": "working",
     "subject": {"reference": "Patient/p1"}, "entry": [{"item": {"reference": "Patient/p20"}}]},
    {"resourceType": "Group", "id": "both", "type": "person", "actual": True,
     "member": [{"entity": {"reference": f"Patient/p{n}", "display": "Zqsecret"}} for n in (1, 20)]},
    {"resourceType": "Provenance", "id": "both", "recorded": "2026-03-04T00:00:00Z",
     "target": [{"reference": "Observation/o1"}, {"reference": "Observation/o20"}],
     "agent": [{"who": {"reference": "Patient/p20", "display": "Zqsecret"}}]},
    {"resourceType": "Task", "id": "both", "status": "requested", "intent": "order",
     "for": {"reference": "Patient/p20", "display": "Zqsecret"}, "focus": {"reference": "ServiceRequest/s1"}},
]  # fmt: skip


def client(provision: JsonObject, label: JsonObject) -> list[Draft]:
    """Everything of the client who must not be noticed."""
    own = person(20, **TWIN[1] | {"identifier": [{"system": "urn:mrn", "value": "20"}]})
    found = [own, consent(20, provision), *about(20, "20"), *OF_THE_CLIENT]
    return [Draft(one, source="elsewhere", labels=(label,)) for one in found]


@dataclass
class Walk:
    """A gateway, the hospital that asks, and a reviewer of links."""

    store: MemoryStore
    hospital: Caller
    reviewer: Caller


def filled(settings: Settings, hidden: list[Draft]) -> MemoryStore:
    """A store with a visible person, and the hidden one before."""
    store, saver = MemoryStore(DERIVED.view), wiring.saver(settings)
    seen = [person(1, **TWIN[1]), consent(1, PERMIT), *about(1, "1"), GROUP]
    drafts = [Draft(one, source="ehr" if one is GROUP else "import", labels=(NORMAL,)) for one in seen]
    for part, start in ((hidden, EPOCH_US - 900_000_000), (drafts, EPOCH_US)):
        for number, draft in enumerate(part):
            at = start + number * 1_000_000
            store.write(lambda unit, d=draft, at=at: saver.save(unit, [d], now_us=at))  # type: ignore[misc]
    return store


@contextmanager
def gateway(folder: Path, hidden: list[Draft]) -> Iterator[Walk]:
    settings = Settings(data_folder=str(folder), link_reviewer_roles=[REVIEWER])
    store = filled(settings, hidden)
    store.write(lambda unit: unit.clients.keep_secret("cursor", bytes(32)))
    built = wiring.build_app(settings, store)
    http = Http(built.app)
    world: Any = type("World", (), {"store": store, "http": http})
    reviewing = caller(world, "rev", roles=(REVIEWER,), purpose="TREAT", organization="Organization/rev")
    yield Walk(store, Caller(http, token_for(store, "ehr", HOSPITAL)), reviewing)
    http.close()
    built.executor.shutdown()


ASKED: Final[JsonObject] = {
    "resourceType": "Parameters",
    "parameter": [{"name": "resource", "resource": {"resourceType": "Patient", **TWIN[1]}}],
}
BATCH: Final[JsonObject] = {
    "resourceType": "Bundle", "type": "batch",
    "entry": [{"request": {"method": "GET", "url": url}} for url in ("Patient/p20", "Patient?family=Zqobuya", "List")],
}  # fmt: skip
SUBSCRIPTION: Final[JsonObject] = {
    "resourceType": "Subscription", "status": "requested", "reason": "zq", "criteria": "Observation?",
    "channel": {"type": "rest-hook", "endpoint": "https://ehr.example/hook"},
}  # fmt: skip
DOORS: Final[Mapping[str, tuple[tuple[str, str, Any], ...]]] = {
    "read": (("GET", "/Patient/p20", None), ("GET", "/Patient/p20/_history/1", None), ("GET", "/Consent/c20", None)),
    "history": (("GET", "/Patient/p20/_history", None), ("GET", "/Patient/_history", None), ("GET", "/_history", None)),
    "search": (
        ("GET", "/Patient?family=Zqobuya&_total=accurate", None), ("GET", "/Patient?identifier=urn:mrn%7C20", None),
        ("GET", "/Observation?patient=Patient/p20", None), ("GET", "/Patient?_has:Observation:subject:code=20-1", None),
        ("GET", "/Observation?subject:Patient.family=Zqobuya&_summary=count", None),
    ),
    "everything": (("GET", "/Patient/p20/$everything", None), ("GET", "/Patient/p1/$everything", None)),
    "match": (("POST", "/Patient/$match", ASKED),),
    "pix": (("GET", "/Patient/$ihe-pix?sourceIdentifier=urn:mrn%7C20", None),
            ("GET", "/Patient/$ihe-pix?sourceIdentifier=http://hl7.org/fhir/sid/us-ssn%7C219099999", None)),
    "links": (("GET", "/Patient/p1", None), ("GET", "/Patient?link=Patient/p20", None), ("GET", "/Person", None)),
    "list and group": (("GET", "/List/list", None), ("GET", "/List?item=Patient/p20", None),
                       ("GET", "/Group/both", None), ("GET", "/Group?member=Patient/p20", None),
                       ("GET", "/Group/g", None)),
    "provenance": (("GET", "/Provenance/both", None), ("GET", "/Provenance?target=Observation/o1", None),
                   ("GET", "/Observation?_id=o1&_revinclude=Provenance:target", None)),
    "display": (("GET", "/Task/both", None), ("GET", "/Task?focus=ServiceRequest/s1", None)),
    "batch": (("POST", "/", BATCH),),
    "consent operations": (("GET", "/Patient/p20/$consent-explain", None), ("GET", "/Patient/p20/$consent-lint", None),
                           ("GET", "/Patient/p1/$consent-explain", None)),
    "writes": (("DELETE", "/Patient/p20", None), ("PUT", "/Patient?identifier=urn:mrn%7C20&_id=nobody", {"id": "x"})),
    "trail": (("GET", "/AuditEvent?patient=Patient/p20", None), ("GET", "/AuditEvent?entity=Patient/p20", None)),
    "emergency": (("GET", "/Patient/p20", "X-Doorway-Break-Glass-Reason"),),
}  # fmt: skip


@pytest.fixture(scope="module", params=sorted(KINDS))
def walks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Walk, Walk]]:
    """A gateway without the client, and one with: same words, hidden client."""
    folder = tmp_path_factory.mktemp("doors")
    with gateway(folder, []) as less, gateway(folder, client(*KINDS[request.param])) as more:
        with more.store.reading() as reading:
            assert reading.resources.get("Patient", "p20") is not None  # the client is there
        yield less, more


def asked(walk: Walk, door: tuple[str, str, Any]) -> tuple[int, bytes]:
    method, path, body = door
    if path.startswith("/AuditEvent"):  # when each gateway was asked differs, and nothing else may
        found = answer(walk.hospital, method, path)[2]
        return 200, re.sub(rb'"(recorded|lastUpdated)":"[^"]*"', b"", found)
    if isinstance(body, str):
        said = walk.hospital(method, path, None, X_Doorway_Break_Glass_Reason="zq", X_Request_Id="r-1")
        return said.status_code, said.content
    status, _, content = answer(walk.hospital, method, path, body)
    return status, content


@pytest.mark.parametrize("name", DOORS)
def test_a_door_shows_nothing_of_the_client(walks: tuple[Walk, Walk], name: str) -> None:
    for door in DOORS[name]:
        without, found = asked(walks[0], door), asked(walks[1], door)
        assert without == found, door[1]
        own = name == "list and group" and door[1] == "/Group/g"  # the hospital's own list names the id, as it wrote it
        assert own or b"Zqsecret" not in found[1]


def test_bulk_files_hold_nothing_of_the_client(walks: tuple[Walk, Walk]) -> None:
    for path in EXPORTS[:3]:
        assert list(exported(walks[0].hospital, path)) == list(exported(walks[1].hospital, path))


def test_a_review_queue_does_not_offer_the_client(walks: tuple[Walk, Walk]) -> None:
    said = [walk.reviewer("GET", "/$link-queue").json() for walk in walks]
    assert said[0] == said[1]
    with walks[1].store.reading() as reading:
        assert reading.links.edges("Patient/p20") == []  # never compared: a link is a disclosure
        assert reading.links.known(["Patient/p20"]) == {}


def test_a_subscription_is_not_woken_by_the_client(walks: tuple[Walk, Walk]) -> None:
    told_ = []
    for walk in walks:
        made = walk.hospital("POST", "/Subscription", SUBSCRIPTION)
        assert made.status_code == 201
        status = walk.hospital("GET", f"/Subscription/{made.json()['id']}/$status").json()
        with walk.store.reading() as reading:
            waiting = {kind.value: len(list(reading.outbox.in_state(kind))) for kind in OutState}
        told_.append((orjson.dumps(status.get("entry", [])).count(b"eventsSince"), waiting))
    assert told_[0] == told_[1]


def test_no_message_goes_out_about_the_client(tmp_path: Path) -> None:
    labels, settings = (NORMAL,), Settings(data_folder=str(tmp_path))
    changed = [Draft(one, source="shelter", labels=labels) for one in (REFERRAL, REFERRAL | {"priority": "urgent"})]
    received = [sent(agreed(filled(settings, [])), tmp_path, changed)]
    for provision, label in KINDS.values():
        hidden = [*client(provision, label), Draft(HIDDEN_REFERRAL, source="elsewhere", labels=(label,))]
        received.append(sent(agreed(filled(settings, hidden)), tmp_path, [*changed, hidden[-1]]))
    assert received[0] == received[1] == received[2]
    assert len(received[0]) == 2


def agreed(store: MemoryStore) -> MemoryStore:
    """With the agreement of the hospital."""
    store.write(lambda unit: agree(unit.resources, HOSPITAL, since="2020-01-01", now_us=1))
    return store


def test_hl7_queries_know_nothing_of_the_client(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    try:
        asks = (("Q22", PERSON), ("Q22", "@PID.3.1^c1~@PID.3.4.2^1.2.3~@PID.3.4.3^ISO"), ("Q23", "c1^^^&1.2.3&ISO"))
        nobody = [told(hub.ask(trigger, query)) for trigger, query in asks]
        for kind, label in (("deny", NORMAL), ("permit", VSP)):
            hub.save(patient("x", "urn:oid:1.2.3", "c1"), signed_for_west("cx", "x", kind), labels=(label,))
            assert [told(hub.ask(trigger, query)) for trigger, query in asks] == nobody, kind
    finally:
        hub.close()
