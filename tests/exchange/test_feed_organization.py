"""What a feed says for an organization is that organization's own; whom a message names is who takes part here."""

from collections.abc import Collection
from typing import Any, Final

import pytest

from gateway import wiring
from gateway.consent.request import AccessRequest
from gateway.exchange.agreements import agree
from gateway.exchange.disclose import Gate
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store
from gateway.exchange.trace import Trace, replay, trace
from gateway.kernel.fhir import Resource
from gateway.mapping.hmis.conversions import Source
from gateway.settings import Settings
from gateway.wiring.hl7v2 import hl7v2_processing
from tests.exchange.test_disclose import NOW
from tests.exchange.test_snapshots import Gateway

HMIS: Final = Source("zq coc")
SHELTER, PROJECT = HMIS.id("Organization", "o1"), HMIS.id("Project", "p1")
WEST, EAST, LAB = "Organization/west", "Organization/east", "Organization/lab"
SETTINGS: Final = Settings.model_validate(
    {
        "mllp_feeds": {
            "west": {
                "senders": ["EHR^W", "REF^W"],
                "organization": WEST,
                "parties": {"Harbour Homes": f"HealthcareService/{PROJECT}", "HN-9": EAST},
            },
            "lab": {"senders": ["LIS^L"], "organization": LAB},
        },
        "mllp_destinations": {"west": {"address": "127.0.0.1:1", "organization": WEST}},
    }
)
PID: Final = "PID|1||17^^^WEST^MR||Zqwest^Ada||19800101|F"
IN_HMIS: Final = f"{HMIS.base}/OrganizationID"
DIRECTORY: Final[list[Resource]] = [
    {"resourceType": "Organization", "id": SHELTER, "name": "Zq Shelter"},
    {
        "resourceType": "HealthcareService",
        "id": PROJECT,
        "name": "Zq Homes",
        "providedBy": {"reference": f"Organization/{SHELTER}"},
    },
]


class Bridge:
    """A gateway with two feeds, each speaking for an organization, and the directory of an HMIS."""

    def __init__(self, store: Store) -> None:
        self.store, self.gateway = store, Gateway(store, hl7v2_processing(SETTINGS))
        self.saver, self.knowledge = wiring.saver(SETTINGS), wiring.consent_knowledge(SETTINGS)
        self.save("hmis", *DIRECTORY)
        for one in (WEST, EAST, LAB):
            store.write(lambda unit, one=one: agree(unit.resources, one, since="2020-01-01", now_us=1))  # type: ignore[misc]

    def save(self, source: str, *resources: Resource) -> None:
        drafts = [Draft(one, source=source) for one in resources]
        self.store.write(lambda unit: self.saver.save(unit, drafts, now_us=self.gateway.tick()))

    def hear(self, kind: str, minute: int, *segments: str, sender: str = "EHR|W") -> None:
        head = f"MSH|^~\\&|{sender}|||2026010510{minute:02d}||{kind}|{kind}{minute}{sender[0]}|P|2.5.1"
        self.gateway.take("\r".join([head, *segments, ""]).encode())

    def refer(self, minute: int, whom: str, **more: Any) -> None:
        to = f"PRD|RT|||||||||{whom}"
        self.hear("REF^I12", minute, f"RF1|P|R||||R-{minute}^W", "PRD|RP|Zqdoc^Ann", to, PID, **more)

    def asked(self) -> dict[str, str]:
        """Requests by number, and whom their Tasks ask."""
        numbers = {one["id"]: one["identifier"][0]["value"] for one in self.gateway.all("ServiceRequest")}
        tasks = self.gateway.all("Task")
        return {numbers[one["focus"]["reference"].split("/")[1]]: one["owner"]["reference"] for one in tasks}

    def sees(self, organization: str, types: Collection[str] = ("Patient", "Encounter", "Task")) -> set[str]:
        """Types of which the organization sees something, by the gate and by what the store shows of them."""
        with self.store.reading() as reading:
            gate = Gate(reading.resources, AccessRequest.of_organization(organization, now=NOW), self.knowledge)
            every = [one for type_ in types for one in reading.resources.of_type(type_)]
            visible = {one.reference for one, yes in zip(every, gate.visible(every), strict=True) if yes}
            shown = gate.narrow(every)
            found = [c for t in types for c in reading.resources.candidates(t, (), limit=99, shown=shown)]
            assert visible <= {one.stored.reference for one in found}
        return {reference.split("/")[0] for reference in visible}


def test_what_a_feed_sends_is_its_organizations_own_and_nobody_elses(store: Store) -> None:
    bridge = Bridge(store)
    bridge.hear("ADT^A01", 1, PID, "PV1|1|I|4W|||||||||||||||||V1^^^WEST")
    bridge.refer(2, "Anybody", sender="REF|W")
    assert bridge.sees(WEST) == {"Patient", "Encounter", "Task"}
    assert bridge.sees(EAST) == bridge.sees(LAB) == set()


def test_who_tells_first_of_anothers_patient_does_not_own_what_the_other_tells_later(store: Store) -> None:
    bridge = Bridge(store)
    bridge.hear("ORU^R01", 2, PID, "OBR|1||F1^L|X|||20260105||||||||||||||||||F", sender="LIS|L")
    assert bridge.sees(LAB) == {"Patient"}
    bridge.hear("ADT^A01", 3, PID, "PV1|1|I|4W|||||||||||||||||V1^^^WEST")
    assert (bridge.sees(LAB, ["Patient"]), bridge.sees(WEST)) == (set(), {"Patient", "Encounter"})
    bridge.hear("ADT^A08", 1, PID.replace("Ada", "Adele"), sender="LIS|L")  # late: folded anew
    assert bridge.sees(LAB, ["Patient"]) == set()


@pytest.mark.parametrize(
    ("whom", "owner"),
    [
        ("harbour homes ", f"HealthcareService/{PROJECT}"),
        ("Zq Any^^^^^^^^^HN-9", EAST),
        (f"Zq^^^^^&{IN_HMIS}&URI^^^^o1", f"Organization/{SHELTER}"),
        (f"Zq^^^^^&{HMIS.base}/ProjectID&URI^^^^p1", f"HealthcareService/{PROJECT}"),
    ],
)
def test_a_referral_reaches_whom_it_names_as_agreed_or_by_the_number_of_an_hmis(
    store: Store, whom: str, owner: str
) -> None:
    bridge = Bridge(store)
    before = len(bridge.gateway.all("Organization"))
    bridge.refer(2, whom)
    assert bridge.asked() == {"R-2": owner}
    (role,) = [one for one in bridge.gateway.all("PractitionerRole") if one.get("organization")]
    service = owner.startswith("HealthcareService")
    assert role["organization"]["reference"] == (f"Organization/{SHELTER}" if service else owner)
    assert role.get("healthcareService") == ([{"reference": owner}] if service else None)
    assert not any(one.get("name", "").startswith(("harbour", "Zq Any")) for one in bridge.gateway.all("Organization"))
    assert {one["id"] for one in bridge.gateway.all("Organization") if one.get("name") == "Zq Shelter"} == {SHELTER}
    assert len(bridge.gateway.all("Organization")) == before + 1  # the sending facility
    bridge.refer(1, whom)  # late: folded anew
    assert bridge.asked() == {"R-1": owner, "R-2": owner}


@pytest.mark.parametrize(
    "whom",
    [
        "Zq Shelter",  # a name proves nothing
        f"Zq^^^^^&{IN_HMIS}&URI^^^^o2",  # nobody's number
        f"Zq^^^^^&{HMIS.base}/UserID&URI^^^^o1",
        f"Zq^^^^^&urn:other&URI^^^^{SHELTER}",
    ],
)
def test_whoever_is_not_known_for_certain_stays_the_senders_own(store: Store, whom: str) -> None:
    bridge = Bridge(store)
    bridge.refer(2, whom)
    (owner,) = bridge.asked().values()
    assert owner not in {f"Organization/{SHELTER}", EAST}
    assert len(bridge.gateway.all("Organization")) == len(DIRECTORY) + 1


def test_a_number_that_somebody_gave_to_himself_draws_no_referral(store: Store) -> None:
    bridge = Bridge(store)
    claimed = {"system": "urn:oid:1.2.3", "value": "77"}
    bridge.save("east", {"resourceType": "Organization", "id": "east", "identifier": [claimed]})
    bridge.refer(2, "Zq^^^^^&1.2.3&ISO^^^^77")
    assert EAST not in bridge.asked().values()


def test_the_answer_to_a_feeds_referral_goes_to_its_organization_whatever_the_message_called_it(store: Store) -> None:
    bridge = Bridge(store)
    bridge.refer(2, "harbour homes", sender="REF|W")

    def queued() -> list[str]:
        with store.reading() as reading:
            return [one.kind for one in reading.outbox.due("west", now_us=10**18, limit=9)]

    assert queued() == []
    (task,) = bridge.gateway.all("Task")
    bridge.save("hmis", task | {"status": "accepted"})
    assert queued() == ["RRI^I12"]


def test_a_trace_says_that_a_referral_asks_nobody_here_and_a_replay_mends_it_once_it_is_agreed(store: Store) -> None:
    bridge = Bridge(store)
    bridge.refer(2, "Zq Unheard")
    (owner,) = bridge.asked().values()

    def traced() -> Trace:
        with store.reading() as reading:
            (found,), _ = trace(reading, "REF^I122E")
            return found

    assert traced().asks == (owner,)
    agreed = SETTINGS.model_dump(exclude_unset=True)
    agreed["mllp_feeds"]["west"]["parties"]["Zq Unheard"] = f"HealthcareService/{PROJECT}"
    processing = hl7v2_processing(Settings.model_validate(agreed))
    id_ = traced().received.id
    replay(store, id_, processing, now_us=bridge.gateway.tick, ack_id="R", reason="agreed")
    assert bridge.asked() == {"R-2": f"HealthcareService/{PROJECT}"}
    assert traced().asks == ()
