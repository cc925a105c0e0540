"""Every store keeps resources alike: versions, snapshots, compartments, and nothing of the received text is touched."""

from typing import Any

import orjson
import pytest

from gateway.exchange.ports.resources import Draft, Stored
from gateway.exchange.ports.store import Store, Unit
from gateway.exchange.save import Saver
from gateway.kernel.errors import Invalid

NOW = 1_767_225_600_123_456  # 2026-01-01T00:00:00.123456Z


def patient(id_: str = "p1", **rest: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id_, "name": [{"family": "Zqsmith"}], **rest}


def put(store: Store, resource: dict[str, Any], *, now_us: int = NOW, **rest: Any) -> Stored:
    return store.write(lambda unit: unit.resources.put(Draft(resource, **rest), now_us=now_us))


def test_the_first_version_is_one_and_carries_its_instant(store: Store) -> None:
    stored = put(store, patient())
    assert (stored.reference, stored.version, stored.updated_us) == ("Patient/p1", 1, NOW)
    assert orjson.loads(stored.body)["meta"] == {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00.123Z"}
    with store.reading() as reading:
        assert reading.resources.get("Patient", "p1") == stored
        assert reading.resources.get("Patient", "p2") is None
        assert reading.resources.get("Person", "p1") is None


def test_received_text_is_kept_to_the_last_character(store: Store) -> None:
    text = (
        b'{ "resourceType" : "Observation",\n "valueQuantity":{"value":0.10, "x":1E+2},  "note":[{"text":"\\u00e9"}] }'
    )
    stored = put(store, {"resourceType": "Observation", "id": "o1"}, body=text)
    head, meta, rest = stored.body.partition(
        b',"id":"o1","meta":{"versionId":"1","lastUpdated":"2026-01-01T00:00:00.123Z"}'
    )
    assert meta
    assert head + rest == text


def test_what_the_sender_put_into_meta_stays_but_for_our_three_elements(store: Store) -> None:
    meta = {
        "versionId": "9",
        "lastUpdated": "1999-01-01T00:00:00Z",
        "profile": ["http://p"],
        "security": [{"code": "N"}],
    }
    stored = put(store, patient(meta=meta), labels=({"system": "s", "code": "R"},))
    kept = orjson.loads(stored.body)["meta"]
    assert kept["profile"] == ["http://p"]
    assert kept["versionId"] == "1"
    assert kept["security"] == [{"system": "s", "code": "R"}]


def test_unchanged_content_writes_nothing(store: Store) -> None:
    first = put(store, patient())
    assert put(store, patient(), now_us=NOW + 5) == first
    changed = put(store, patient(gender="female"), now_us=NOW + 6)
    assert changed.version == 2
    assert put(store, patient(gender="female"), now_us=NOW + 7, labels=({"code": "R"},)).version == 3


def test_a_clock_that_steps_back_does_not_reorder_versions(store: Store) -> None:
    first = put(store, patient())
    assert put(store, patient(gender="male"), now_us=NOW - 1000).updated_us > first.updated_us


def test_every_version_stays_and_a_deletion_is_one(store: Store) -> None:
    first, second = put(store, patient()), put(store, patient(gender="male"), now_us=NOW + 1)
    gone = store.write(lambda unit: unit.resources.delete("Patient", "p1", now_us=NOW + 2, source="rest"))
    assert gone is not None
    assert (gone.version, gone.deleted, gone.source) == (3, True, "rest")
    again = put(store, patient(gender="other"), now_us=NOW + 3)
    assert again.version == 4
    with store.reading() as reading:
        found = [reading.resources.version("Patient", "p1", number) for number in range(6)]
        assert found == [None, first, second, gone, again, None]
    assert store.write(lambda unit: unit.resources.delete("Patient", "none", now_us=NOW)) is None


def test_deleted_resources_are_in_no_list(store: Store) -> None:
    for id_ in ("b", "a", "c"):
        put(store, patient(id_))
    store.write(lambda unit: unit.resources.delete("Patient", "b", now_us=NOW + 2))
    with store.reading() as reading:
        assert [stored.id for stored in reading.resources.of_type("Patient")] == ["a", "c"]
        assert set(reading.resources.many(["Patient/a", "Patient/b", "Patient/x"])) == {"Patient/a"}
        assert {stored.id for stored in reading.resources.compartment(["Patient/b", "Patient/c"])} == {"c"}
        deleted = reading.resources.get("Patient", "b")
        assert deleted is not None
        assert deleted.deleted


def test_the_compartment_follows_every_patient_that_is_named(store: Store) -> None:
    put(store, patient("p1"))
    put(store, patient("p2"))
    group = {"resourceType": "Group", "id": "g", "member": [{"entity": {"reference": "Patient/p1"}}]}
    put(store, group)
    with store.reading() as reading:
        assert {found.reference for found in reading.resources.compartment(["Patient/p1"])} == {"Patient/p1", "Group/g"}
    put(store, {**group, "member": [{"entity": {"reference": "Patient/p2"}}]}, now_us=NOW + 1)
    with store.reading() as reading:
        assert {found.reference for found in reading.resources.compartment(["Patient/p1"])} == {"Patient/p1"}
        assert {found.reference for found in reading.resources.compartment(["Patient/p2"])} == {"Patient/p2", "Group/g"}


def test_consents_are_found_by_their_patient_only(store: Store) -> None:
    def consent(id_: str, person: str, status: str) -> dict[str, Any]:
        return {"resourceType": "Consent", "id": id_, "status": status, "patient": {"reference": f"Patient/{person}"}}

    put(store, consent("c1", "p1", "active"))
    put(store, consent("c2", "p2", "active"))
    put(store, consent("c3", "p1", "inactive"))
    performer = {**consent("c4", "p2", "active"), "performer": [{"reference": "Patient/p1"}]}
    put(store, performer)
    with store.reading() as reading:
        assert [found.id for found in reading.resources.consents(["Patient/p1"])] == ["c1", "c3"]
        assert [found.id for found in reading.resources.consents([])] == []


def test_a_subject_that_changes_moves_the_resource_to_the_other_person(store: Store) -> None:
    observation = {"resourceType": "Observation", "id": "o", "subject": {"reference": "Patient/p1"}}
    put(store, observation)
    moved = put(store, {**observation, "subject": {"reference": "Patient/p2"}}, now_us=NOW + 1)
    assert moved.version == 2
    with store.reading() as reading:
        assert [found.id for found in reading.resources.compartment(["Patient/p2"])] == ["o"]
        assert list(reading.resources.compartment(["Patient/p1"])) == []
        assert reading.resources.version("Observation", "o", 1) is not None


def test_a_failing_write_leaves_nothing_and_harms_no_other(store: Store) -> None:
    def bad(unit: Unit) -> None:
        unit.resources.put(Draft(patient("lost")), now_us=NOW)
        raise Invalid("no", at="here")

    lost = store.submit(bad)
    kept = store.submit(lambda unit: unit.resources.put(Draft(patient("kept")), now_us=NOW))
    with pytest.raises(Invalid):
        lost.result()
    assert kept.result().id == "kept"
    with store.reading() as reading:
        assert reading.resources.get("Patient", "lost") is None


def test_a_snapshot_does_not_see_what_comes_later(store: Store) -> None:
    put(store, patient())
    with store.reading() as reading:
        assert len(list(reading.resources.of_type("Patient"))) == 1
        put(store, patient("p2"))
        assert len(list(reading.resources.of_type("Patient"))) == 1
        assert reading.resources.get("Patient", "p2") is None


def test_a_resource_without_id_is_refused(store: Store) -> None:
    with pytest.raises(Invalid):
        put(store, {"resourceType": "Patient"})


def test_the_saver_labels_and_trusts_no_label_of_the_sender(store: Store) -> None:
    saver = Saver(lambda resource: [{"system": "conf", "code": "R"}])
    draft = Draft(
        patient(meta={"security": [{"system": "conf", "code": "U"}]}), labels=({"system": "act", "code": "HIV"},)
    )
    [stored] = store.write(lambda unit: saver.save(unit, [draft], now_us=NOW))
    labels = orjson.loads(stored.body)["meta"]["security"]
    assert labels == [{"system": "act", "code": "HIV"}, {"system": "conf", "code": "R"}]
    assert store.write(lambda unit: saver.save(unit, [draft], now_us=NOW + 9)) == [stored]
