"""Effects on records: chains lead to the survivor, doubles do nothing, what is unknown is left alone."""

from gateway.exchange.identity_events import apply_effects, survivor_of
from gateway.kernel.fhir import Resource
from gateway.mapping.hl7v2.effects import Effect


class Records(dict[str, Resource]):
    def store(self, resource: Resource) -> None:
        self[f"{resource['resourceType']}/{resource['id']}"] = resource

    def do(self, *effects: Effect) -> None:
        apply_effects(effects, self.get, self.store)


def patient(id_: str, **more: object) -> Resource:
    return {"resourceType": "Patient", "id": id_, **more}


def records(*several: Resource) -> Records:
    out = Records()
    for one in several:
        out.store(one)
    return out


def test_a_chain_of_merges_leads_to_the_last_survivor() -> None:
    held = records(patient("1"), patient("2"), patient("3"))
    held.do(Effect("merge-patient", "Patient/2", "Patient/1"), Effect("merge-patient", "Patient/3", "Patient/2"))
    assert [survivor_of(f"Patient/{n}", held.get) for n in "123"] == ["Patient/3"] * 3
    assert [held[f"Patient/{n}"]["active"] for n in "123"] == [False, False, True]


def test_a_merge_told_twice_is_one_merge() -> None:
    merge = Effect("merge-patient", "Patient/1", "Patient/2", identifiers=({"system": "W", "value": "2"},))
    held = records(patient("1"), patient("2"))
    held.do(merge)
    once = dict(held)
    held.do(merge)
    assert held == once
    held.do(Effect("merge-patient", "Patient/1", "Patient/1"))
    assert held == once


def test_a_link_is_mutual_and_its_end_leaves_both_as_they_were() -> None:
    held = records(patient("1", gender="male"), patient("2"))
    before = dict(held)
    held.do(Effect("link", "Patient/1", "Patient/2"))
    assert held["Patient/1"]["link"] == [{"other": {"reference": "Patient/2"}, "type": "seealso"}]
    assert held["Patient/2"]["link"] == [{"other": {"reference": "Patient/1"}, "type": "seealso"}]
    held.do(Effect("unlink", "Patient/2", "Patient/1"))
    assert held == before


def test_a_merge_into_an_unknown_record_makes_both_known() -> None:
    held = Records()
    held.do(Effect("merge-patient", "Patient/1", "Patient/2", identifiers=({"system": "W", "value": "2"},)))
    assert held["Patient/2"]["identifier"] == [{"system": "W", "value": "2"}]
    assert held["Patient/1"]["identifier"] == [{"system": "W", "value": "2", "use": "old"}]


def test_moves_numbers_and_errors() -> None:
    visit: Resource = {
        "resourceType": "Encounter",
        "id": "v",
        "status": "in-progress",
        "subject": {"reference": "Patient/1"},
    }
    held = records(patient("1"), visit)
    held.do(Effect("move-visit", "Patient/9", "Encounter/v"))
    assert held["Encounter/v"]["subject"] == {"reference": "Patient/9"}
    held.do(Effect("change-identifier", "Patient/1", identifiers=({"value": "old"},)))
    assert held["Patient/1"]["identifier"] == [{"value": "old", "use": "old"}]
    held.do(Effect("delete", "Encounter/v"), Effect("delete", "Patient/1"), Effect("delete", "Patient/nobody"))
    assert (held["Encounter/v"]["status"], held["Patient/1"]["active"]) == ("entered-in-error", False)
    held.do(Effect("merge-visit", "Encounter/w", "Encounter/v"), Effect("swap", "Encounter/v", "Encounter/w"))
    assert held["Encounter/v"]["status"] == "entered-in-error"
