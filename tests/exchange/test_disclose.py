"""The gate over a store: whose Consents count, what stands above them, what is cut out, what is written down."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from gateway.adapters.files.data import read_data
from gateway.consent.law import HANDLING, embargo_label, read_law
from gateway.consent.request import AccessRequest, Actor, BreakGlass
from gateway.exchange.agreements import Agreement, agree, agree_at_first, contract
from gateway.exchange.disclose import PERSONS, Gate, Knowledge, read_knowledge
from gateway.exchange.explain import explain
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import ACT_CODE, JsonObject
from tests.consent.build import actor, consent, label, labels, observation, purposes

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
KNOWLEDGE = read_knowledge(read_data, privileged=["Group/er"])
HOSPITAL = "Organization/h"
PERMIT = {"type": "permit", "actor": [actor(HOSPITAL)], "purpose": purposes("TREAT")}


def patient(id_: str = "p", **more: Any) -> JsonObject:
    return {"resourceType": "Patient", "id": id_, "name": [{"family": "Zq"}]} | more


def put(store: Store, *resources: JsonObject, source: str = "hmis", at: int = 1, agreed: bool = True) -> None:
    def work(unit: Any) -> None:
        for organization in (HOSPITAL, "Organization/other") if agreed else ():
            agree(unit.resources, organization, since="2020-01-01", now_us=1)
        for resource in resources:
            marks = tuple(resource.get("meta", {}).get("security", ()))
            unit.resources.put(Draft(resource, source=source, labels=marks), now_us=at)

    store.write(work)


def seen(store: Store, request: AccessRequest | None = None, knowledge: Knowledge = KNOWLEDGE) -> list[str]:
    """What a request gets of everything in the store."""
    with store.reading() as reading:
        everything = [s for t in ("Patient", "Observation", "Organization") for s in reading.resources.of_type(t)]
        gate = Gate(reading.resources, request or asks(), knowledge)
        released = gate.release(everything)
        fresh = Gate(reading.resources, request or asks(), knowledge)
        assert [s.reference for s, yes in zip(everything, fresh.visible(everything), strict=True) if yes] == [
            s.reference for s in released.resources
        ]
    return sorted(s.reference for s in released.resources)


def asks(**more: Any) -> AccessRequest:
    return replace(AccessRequest.of_organization(HOSPITAL, now=NOW), **more)


def test_without_consent_nothing_with_it_everything_and_revoked_nothing_again(store: Store) -> None:
    put(store, patient(), observation())
    assert seen(store) == []
    put(store, consent(PERMIT))
    assert seen(store) == ["Observation/o", "Patient/p"]
    assert seen(store, asks(organization="Organization/other")) == []
    put(store, consent(PERMIT, status="inactive"))
    assert seen(store) == []


def test_a_form_signed_anew_and_revoked_does_not_bring_the_older_one_back(store: Store) -> None:
    form = {"sourceReference": {"reference": "DocumentReference/roi"}}
    first = consent(PERMIT, "first", dateTime="2025-01-01", **form)
    again = consent(PERMIT, "again", dateTime="2026-01-01", **form)
    put(store, patient(), observation(), first, again)
    assert seen(store) == ["Observation/o", "Patient/p"]
    put(store, again | {"status": "inactive"})
    assert seen(store) == []
    with store.reading() as reading:
        stored = reading.resources.get("Observation", "o")
        assert stored is not None
        (told,) = explain(reading.resources, asks(), KNOWLEDGE, [stored])
    assert told.text.endswith("a later Consent of the same form was ended, which took that back")
    assert "Consent/again: it is not active" in told.would_need
    put(store, again | {"status": "entered-in-error"})
    assert seen(store) == ["Observation/o", "Patient/p"]


def test_bodies_leave_as_the_very_bytes_that_lie_in_the_store(store: Store) -> None:
    put(store, patient(), observation(valueQuantity={"value": 0.10}), consent(PERMIT))
    with store.reading() as reading:
        stored = reading.resources.get("Observation", "o")
        assert stored is not None
        released = Gate(reading.resources, asks(), KNOWLEDGE).release([stored])
    assert released.resources[0] is stored


def test_the_organization_that_made_a_record_sees_it(store: Store) -> None:
    put(store, patient(managingOrganization={"reference": HOSPITAL}), patient("q"))
    assert seen(store) == ["Patient/p"]
    assert seen(store, asks(client="hmis")) == ["Patient/p", "Patient/q"]


@pytest.mark.parametrize(
    ("since", "until", "active", "party"),
    [
        ("2026-01-01", "2026-12-31", True, True),
        ("2026-01-01", "", True, True),
        ("2026-06-01", "2026-06-01", True, True),
        ("2026-01-01", "2026-05-31", True, False),
        ("2026-06-02", "", True, False),
        ("2026-01-01", "", False, False),
        ("", "", True, False),
    ],
)
def test_an_organization_without_a_current_agreement_receives_nothing_but_its_own_records(
    store: Store, since: str, until: str, active: bool, party: bool
) -> None:
    organization: JsonObject = {"resourceType": "Organization", "id": "h", "active": active}
    own = patient("mine", managingOrganization={"reference": HOSPITAL})
    put(store, patient(), consent(PERMIT), own, organization, agreed=False)
    if since:
        store.write(lambda unit: agree(unit.resources, HOSPITAL, since=since, until=until, now_us=1))
    assert [one for one in seen(store) if one != "Organization/h"] == ["Patient/mine"] + ["Patient/p"] * party


def test_an_agreement_that_the_operator_did_not_record_counts_for_nothing(store: Store) -> None:
    put(store, patient(), consent(PERMIT), contract(Agreement(HOSPITAL, "2026-01-01")), agreed=False)
    assert seen(store) == []
    old = {"url": "https://doorway.example/fhir/StructureDefinition/agreement", "valuePeriod": {"start": "2026-01-01"}}
    put(store, {"resourceType": "Organization", "id": "h", "extension": [old]}, agreed=False)
    assert seen(store) == []


def test_a_registration_does_not_revive_an_agreement_that_ended(store: Store) -> None:
    today = NOW.date()
    put(store, patient(), consent(PERMIT), agreed=False)
    store.write(lambda unit: agree_at_first(unit.resources, HOSPITAL, today=today, now_us=1))
    assert seen(store) == ["Patient/p"]
    store.write(lambda unit: agree(unit.resources, HOSPITAL, since="2026-01-01", until="2026-05-31", now_us=2))
    store.write(lambda unit: agree_at_first(unit.resources, HOSPITAL, today=today, now_us=3))
    assert seen(store) == []
    with pytest.raises(Invalid, match="agreement-until"):
        store.write(lambda unit: agree(unit.resources, HOSPITAL, since="2026-01-02", until="2026-01-01", now_us=4))


@pytest.mark.parametrize(
    "named",
    [
        {"focus": [{"type": "Patient", "identifier": {"system": "urn:mrn", "value": "zq7"}}]},
        {"focus": [{"type": "Patient", "display": "zq"}]},
        {"subject": {"identifier": {"system": "urn:mrn", "value": "zq7"}}, "focus": [{"reference": "Patient/p"}]},
        {"subject": {"reference": "#z"}, "contained": [{"resourceType": "Patient", "id": "z"}],
         "focus": [{"reference": "Patient/p"}]},
    ],
)  # fmt: skip
def test_a_person_who_is_named_otherwise_than_by_a_reference_has_not_permitted(store: Store, named: JsonObject) -> None:
    put(store, patient(), consent(PERMIT), observation("plain"), observation("other") | named)
    assert seen(store) == ["Observation/plain", "Patient/p"]
    permissive = replace(KNOWLEDGE, domain_permit=True)
    assert seen(store, knowledge=permissive) == ["Observation/plain", "Patient/p"]


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        ({"system": HANDLING, "code": "VSP"}, []),
        ({"system": HANDLING, "code": "RESTRICTED"}, []),
        ({"system": HANDLING, "code": embargo_label(NOW.date())}, []),
        ({"system": HANDLING, "code": embargo_label(NOW.date() - timedelta(days=1))}, ["Observation/o"]),
        ({"system": HANDLING, "code": "EMBARGO-someday"}, []),
        ({"system": ACT_CODE, "code": "42CFRPart2"}, []),
    ],
)
def test_the_law_stands_above_every_consent(store: Store, mark: JsonObject, expected: list[str]) -> None:
    put(store, observation(meta={"security": [*labels("N"), mark]}), consent({"type": "permit"}))
    assert seen(store) == expected
    assert seen(store, asks(client="hmis")) == ["Observation/o"]


def test_part_2_records_leave_by_a_permission_that_names_them_and_carry_the_notice(store: Store) -> None:
    put(store, observation(meta={"security": [*labels("R"), label("42CFRPart2"), label("SUD")]}))
    put(store, consent({"type": "permit", "provision": [{"type": "permit", "securityLabel": labels("SUD")}]}))
    assert seen(store) == ["Observation/o"]
    with store.reading() as reading:
        stored = reading.resources.get("Observation", "o")
        assert stored is not None
        assert Gate(reading.resources, asks(), KNOWLEDGE).release([stored]).notices == ("42CFRPart2",)


def glass(**more: Any) -> AccessRequest:
    declared = BreakGlass("unconscious, no other way", NOW + timedelta(hours=1))
    whole = {"purposes": ("BTG",), "break_glass": declared, "actors": (Actor("Practitioner/er"),)}
    return asks(**whole | more)


def test_where_the_domain_demands_it_a_consent_permits_only_once_it_was_verified(store: Store) -> None:
    demands = replace(KNOWLEDGE, law=replace(KNOWLEDGE.law, verified=True))
    verified: JsonObject = {"verification": [{"verified": True}]}
    form: JsonObject = {"sourceReference": {"reference": "DocumentReference/roi"}}
    put(store, patient(), observation(), consent(PERMIT, dateTime="2025-01-01", **form))
    assert seen(store) == ["Observation/o", "Patient/p"]
    assert seen(store, knowledge=demands) == []
    with store.reading() as reading:
        (stored,) = reading.resources.of_type("Observation")
        (said,) = explain(reading.resources, asks(), demands, [stored])
        assert "Consent.verification" in said.text
        gate = Gate(reading.resources, asks(), demands)
        shown = gate.narrow([stored])
        assert shown is None or not gate.contradicts(stored, shown)
    put(store, consent(PERMIT, dateTime="2025-01-01", **form, **verified), at=2)
    assert seen(store, knowledge=demands) == ["Observation/o", "Patient/p"]
    narrower = consent({"type": "deny"}, "later", dateTime="2026-01-01", **form)
    put(store, narrower, at=3)
    assert seen(store, knowledge=demands) == []  # a denial holds before it was verified
    put(store, narrower | {"provision": {"type": "permit", "actor": [actor("Organization/other")]}}, at=4)
    assert seen(store, knowledge=demands) == ["Observation/o", "Patient/p"]  # and a permission replaces nothing yet


def test_a_switch_of_the_law_has_one_of_its_values() -> None:
    row = {"rule": "verification", "effect": "switch", "labels": "demanded", "needs": "", "notice": "", "citation": ""}
    assert read_law([row]).verified
    assert not read_law([]).verified
    with pytest.raises(Invalid, match="optional or demanded"):
        read_law([row | {"labels": "sometimes"}])


def test_break_glass_needs_all_of_it_and_stays_below_the_law(store: Store) -> None:
    er = {"resourceType": "Group", "id": "er", "member": [{"entity": {"reference": "Practitioner/er"}}]}
    vsp = observation("vsp", meta={"security": [*labels("N"), {"system": HANDLING, "code": "VSP"}]})
    naming = consent({"type": "deny", "actor": [actor("Group/er")]}, "names-the-group")
    put(store, patient(), vsp, er, naming)
    assert seen(store, glass()) == ["Patient/p"]
    assert seen(store, glass(purposes=("TREAT",))) == []
    assert seen(store, glass(break_glass=None)) == []
    assert seen(store, glass(actors=(Actor("Practitioner/clerk"),))) == []
    assert seen(store, glass(break_glass=BreakGlass(" ", NOW + timedelta(hours=1)))) == []
    assert seen(store, glass(break_glass=BreakGlass("late", NOW - timedelta(seconds=1)))) == []
    put(store, consent({"type": "deny", "purpose": purposes("BTG")}, "never"))
    assert seen(store, glass()) == []


def linked(id_: str, *others: str) -> JsonObject:
    return patient(id_, link=[{"other": {"reference": f"Patient/{o}"}, "type": "seealso"} for o in others])


def test_a_record_without_consents_is_governed_by_those_of_its_linked_records(store: Store) -> None:
    put(store, linked("p", "hospital"), linked("hospital", "p"), consent(PERMIT))
    assert seen(store) == ["Patient/hospital", "Patient/p"]


def test_a_closed_record_does_not_surface_through_a_link(store: Store) -> None:
    put(store, linked("p", "open"), linked("open", "p"))
    put(
        store,
        consent(PERMIT, "revoked", status="inactive"),
        consent(PERMIT, "o", patient={"reference": "Patient/open"}),
    )
    assert seen(store) == ["Patient/open"]


def test_a_denial_of_one_record_holds_for_all_records_of_the_person(store: Store) -> None:
    put(store, linked("p", "q"), linked("q", "p"), consent(PERMIT, "q", patient={"reference": "Patient/q"}))
    put(store, consent({"type": "deny", "actor": [actor("Practitioner/w")]}, "not-w"))
    assert seen(store, asks(actors=(Actor("Practitioner/w"),))) == []
    assert seen(store) == ["Patient/q"]


def test_links_to_hidden_records_and_sensitive_elements_are_cut_out(store: Store) -> None:
    race = {"url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race", "extension": []}
    basic = {"system": "https://doorway.example/fhir/CodeSystem/visibility-level", "code": "L1"}
    open_ = linked("p", "hidden") | {"extension": [race], "meta": {"security": [basic, *labels("N")]}}
    put(store, open_, linked("hidden", "p"))
    put(
        store,
        consent({"type": "permit", "securityLabel": [basic]}),
        consent(None, "h", patient={"reference": "Patient/hidden"}, status="inactive"),
    )
    with store.reading() as reading:
        stored = reading.resources.get("Patient", "p")
        assert stored is not None
        (out,) = Gate(reading.resources, asks(), KNOWLEDGE).release([stored]).resources
    told = orjson.loads(out.body)
    assert "extension" not in told
    assert "link" not in told
    assert told["name"] == [{"family": "Zq"}]


def test_the_audit_event_names_consents_and_counts_and_no_value(store: Store) -> None:
    put(store, patient(), observation(), consent(PERMIT | {"class": [{"code": "Patient"}]}))
    with store.reading() as reading:
        everything = [s for t in ("Patient", "Observation") for s in reading.resources.of_type(t)]
        gate = Gate(reading.resources, asks(client="ehr"), KNOWLEDGE)
        event = gate.event(gate.release(everything), activity="search-type", query="Patient?name=x", id_="r-1")
    text = orjson.dumps(event).decode()
    assert "Zq" not in text
    assert "Consent/c/_history/1#provision" in text
    assert '"Observation 1"' in text
    assert event["action"] == "E"


def test_what_anybody_sees_does_not_depend_on_the_order_of_loading(store: Store) -> None:
    put(store, patient(), patient("q"), observation(), consent(PERMIT))
    with store.reading() as reading:
        everything = [s for t in ("Patient", "Observation") for s in reading.resources.of_type(t)]
        one = Gate(reading.resources, asks(), KNOWLEDGE).release(everything)
        other = Gate(reading.resources, asks(), KNOWLEDGE).release(everything[::-1])
    assert [s.reference for s in one.resources] == [s.reference for s in other.resources][::-1]


def test_a_tangle_of_links_is_nobodys_and_denied(store: Store) -> None:
    chain = [linked(f"n{i}", f"n{i + 1}") for i in range(60)]
    put(store, *chain, consent(PERMIT, patient={"reference": "Patient/n0"}))
    assert seen(store) == []


def test_the_consents_of_a_page_are_loaded_together(store: Store) -> None:
    people = [patient(f"q{i}") for i in range(40)]
    put(store, *people, *(consent(PERMIT, f"c{i}", patient={"reference": f"Patient/q{i}"}) for i in range(40)))
    with store.reading() as reading:
        counted = Counted(reading.resources)
        page = list(reading.resources.of_type("Patient"))
        assert len(Gate(counted, asks(), KNOWLEDGE).release(page).resources) == 40
    assert counted.calls < 12


class Counted:
    """Counts what is asked of the store."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.calls = inner, 0

    def __getattr__(self, name: str) -> Any:
        self.calls += 1
        return getattr(self.inner, name)


def shown(store: Store, *references: str, request: AccessRequest | None = None) -> list[str]:
    """Which of these the asker sees."""
    with store.reading() as reading:
        found = reading.resources.many(references)
        assert len(found) == len(references)
        released = Gate(reading.resources, request or asks(), KNOWLEDGE).release(found[one] for one in references)
    return [stored.reference for stored in released.resources]


def provenance(id_: str, *targets: str) -> JsonObject:
    named = [{"reference": one} for one in targets]
    return {"resourceType": "Provenance", "id": id_, "target": named, "meta": {"security": labels("N")}}


def test_a_provenance_is_seen_by_who_sees_all_that_it_tells_of(store: Store) -> None:
    sensitive = observation("x", meta={"security": labels("R", "SDV")})
    put(store, patient(meta={"security": labels("N")}), observation("o", "N"), sensitive, patient("q"))
    put(store, consent({**PERMIT, "provision": [{"type": "deny", "securityLabel": labels("SDV")}]}))
    put(
        store, provenance("a", "Observation/o"), provenance("b", "Observation/o", "Observation/x"),
        provenance("c", "Observation/none"), provenance("d"), provenance("e", "Patient/p", "Observation/x"),
        provenance("f", "Patient/q"), provenance("g", "Patient/p", "http://gateway.example/fhir/Observation/o"),
        provenance("h", "Provenance/h"),
    )  # fmt: skip
    every = [f"Provenance/{one}" for one in "abcdefgh"]
    assert shown(store, *every) == ["Provenance/a", "Provenance/g"]
    assert shown(store, *every, request=asks(client="hmis")) == every
    assert shown(store, *every, request=asks(organization="Organization/other")) == []


def document(id_: str, binary: str, *security: str) -> JsonObject:
    content = [{"attachment": {"url": f"Binary/{binary}"}}]
    return {
        "resourceType": "DocumentReference", "id": id_, "status": "current", "subject": {"reference": "Patient/p"},
        "content": content, "meta": {"security": labels(*security)},
    }  # fmt: skip


def binary(id_: str, context: str = "") -> JsonObject:
    more = {"securityContext": {"reference": context}} if context else {}
    return {"resourceType": "Binary", "id": id_, "contentType": "text/plain", "data": "eg=="} | more


def test_a_binary_is_seen_by_who_sees_what_it_belongs_to(store: Store) -> None:
    put(store, patient(), observation("o", "N"), patient("q"))
    put(store, consent({**PERMIT, "provision": [{"type": "deny", "securityLabel": labels("SDV")}]}))
    put(store, *(binary(one) for one in ("open", "closed", "stray", "foreign")), binary("c", "Observation/o"))
    put(store, binary("d", "Patient/q"), binary("e", "Patient/none"), document("1", "open", "N"))
    put(store, document("2", "closed", "R", "SDV"))
    put(store, document("3", "foreign", "N"), document("4", "d", "N"), source="somebody else")
    every = [f"Binary/{one}" for one in ("open", "closed", "stray", "foreign", "c", "d", "e")]
    assert shown(store, *every) == ["Binary/open", "Binary/c"]
    assert shown(store, *every, request=asks(client="hmis")) == every
    assert shown(store, *every, request=asks(organization="Organization/other")) == []


def test_the_person_above_linked_records_is_shown_to_no_partner(store: Store) -> None:
    joined = {"resourceType": "Person", "id": "n", "link": [{"target": {"reference": "Patient/p"}}]}
    put(store, patient(), consent(PERMIT), {**joined, "id": "theirs"})
    put(store, joined, source=PERSONS)
    assert shown(store, "Person/n", "Person/theirs") == ["Person/theirs"]
