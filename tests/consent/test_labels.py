"""What makes a record sensitive, why, and how a mapping's labels join."""

from typing import Any

import pytest

from gateway.adapters.files.data import read_data
from gateway.adapters.memory.store import MemoryStore
from gateway.consent.labels import BASIS, Labeller, merged
from gateway.exchange.ports.resources import Draft
from gateway.exchange.relabel import read_labeller, relabel, relabelling
from gateway.exchange.save import Saver
from gateway.kernel.fhir import ACT_CODE, CONFIDENTIALITY, LEVEL, JsonObject

LABELLER = read_labeller(read_data)
ICD = "http://hl7.org/fhir/sid/icd-10-cm"


def condition(system: str, code: str, **more: Any) -> JsonObject:
    return {"resourceType": "Condition", "id": "c", "code": {"coding": [{"system": system, "code": code}]}} | more


def codes(resource: JsonObject, labeller: Labeller = LABELLER) -> set[str]:
    return {label["code"] for label in labeller(resource)}


@pytest.mark.parametrize(
    ("system", "code", "expected"),
    [
        (ICD, "B20", "HIV"),
        (ICD, "F10.20", "ETHUD"),
        (ICD, "F1020", "ETHUD"),  # claims leave the point out
        ("http://hl7.org/fhir/sid/icd-10-ca", "F11.2", "OPIOIDUD"),
        (ICD, "F32.1", "MH"),
        (ICD, "T74.11XA", "SDV"),
        (ICD, "O9A.311", "SDV"),
        (ICD, "A53.9", "STD"),
        (ICD, "Z30.09", "SEX"),
        ("http://snomed.info/sct", "86406008", "HIV"),
        ("http://loinc.org", "44261-6", "MH"),
        ("http://www.nlm.nih.gov/research/umls/rxnorm", "6813", "OPIOIDUD"),
    ],
)
def test_codes_are_found_by_their_place_in_the_classification(system: str, code: str, expected: str) -> None:
    found = codes(condition(system, code))
    assert expected in found
    assert {"R", "L3"} <= found


@pytest.mark.parametrize("code", ["I10", "F17.210", "Z59.00", "T73.0", "B19", "A4"])
def test_ordinary_codes_are_ordinary(code: str) -> None:
    assert codes(condition(ICD, code)) == {"N", "L3"}


def test_a_code_counts_wherever_it_stands() -> None:
    medication = {
        "resourceType": "Medication",
        "id": "m",
        "code": {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "1819"}]},
    }
    assert "OPIOIDUD" in codes({"resourceType": "MedicationRequest", "id": "r", "contained": [medication]})


def test_words_count_where_there_is_no_code_and_names_of_people_do_not() -> None:
    assert "SDV" in codes(
        {"resourceType": "ServiceRequest", "id": "s", "code": {"text": "Domestic violence counselling"}}
    )
    assert "SUD" in codes({"resourceType": "ServiceRequest", "id": "s", "code": {"text": "Detox bed"}})
    assert codes({"resourceType": "Patient", "id": "p", "name": [{"text": "Heroin Rape Zq"}]}) == {"N", "L1"}


def test_a_source_is_sensitive_whatever_its_codes() -> None:
    record = condition(ICD, "I10", meta={"source": "urn:doorway:programme:part2#x"})
    assert {"42CFRPart2", "SUD", "ETH"} <= codes(record)


def test_a_referral_from_a_shelter_for_survivors_tells_by_its_sender() -> None:
    knowing = Labeller(LABELLER.tables, {"Organization/safe-house": frozenset({"SDV"})})
    referral = {"resourceType": "ServiceRequest", "id": "s", "requester": {"reference": "Organization/safe-house"}}
    assert "SDV" in codes(referral, knowing)
    assert "SDV" not in codes(referral)


def test_every_label_keeps_its_basis() -> None:
    for label in LABELLER(condition(ICD, "B20")):
        (extension,) = label["extension"]
        assert extension["url"] == BASIS
        assert extension["valueCoding"]["version"] == LABELLER.tables.version


def test_a_mapping_sets_the_level_unless_the_tables_find_more() -> None:
    vouched = [{"system": LEVEL, "code": "L2"}, {"system": CONFIDENTIALITY, "code": "N"}]
    plain = {(c["system"], c["code"]) for c in merged(vouched, LABELLER(condition(ICD, "I10")))}
    assert plain == {(LEVEL, "L2"), (CONFIDENTIALITY, "N")}
    hidden = {(c["system"], c["code"]) for c in merged(vouched, LABELLER(condition(ICD, "B20")))}
    assert hidden == {(LEVEL, "L3"), (CONFIDENTIALITY, "R"), (ACT_CODE, "HIV")}


def test_what_a_mapping_vouches_for_brings_its_companions() -> None:
    joined = LABELLER.join([{"system": ACT_CODE, "code": "MH"}], LABELLER(condition(ICD, "I10")))
    assert {"MH", "PSY"} <= {c["code"] for c in joined}


def test_a_changed_table_relabels_what_it_labelled_and_leaves_what_a_mapping_vouched_for() -> None:
    store = MemoryStore()
    by_mapping = {"system": ACT_CODE, "code": "HIV"}

    def save(unit: Any) -> None:
        old = Saver(
            lambda _r: LABELLER(condition(ICD, "F32.1")), join=LABELLER.join
        )  # an older table: everything was MH
        old.save(unit, [Draft(condition(ICD, "I10"), labels=(by_mapping,))], now_us=1)

    store.write(save)
    saver = Saver(LABELLER, join=LABELLER.join)
    assert relabel(store, saver, ["Condition"], now_us=2) == 1
    assert relabel(store, saver, ["Condition"], now_us=3) == 0
    with store.reading() as reading:
        stored = reading.resources.get("Condition", "c")
    assert stored is not None
    assert b'"HIV"' in stored.body
    assert b'"MH"' not in stored.body
    store.close()


def test_a_run_that_was_broken_off_goes_on_behind_the_last_one() -> None:
    store = MemoryStore()
    bare = Saver(lambda _r: ())
    store.write(
        lambda unit: bare.save(unit, [Draft(condition(ICD, "I10") | {"id": f"c{n:03}"}) for n in range(450)], now_us=1)
    )
    saver = Saver(LABELLER, join=LABELLER.join)
    first = next(relabelling(store, saver, ["Condition"], now_us=2))
    assert (first.last, first.seen, first.changed) == ("Condition/c199", 200, 200)
    rest = list(relabelling(store, saver, ["Account", "Condition"], now_us=2, after=first.last))
    assert [(step.last, step.changed) for step in rest] == [("Condition/c399", 200), ("Condition/c449", 50)]
    assert relabel(store, saver, ["Condition"], now_us=3) == 0
    store.close()


def test_whatever_names_a_shelter_for_survivors_carries_what_that_tells() -> None:
    told = read_labeller(read_data, {"Organization/dv": ["VIO"]})
    referral = {"resourceType": "ServiceRequest", "requester": {"reference": "Organization/dv"}}
    assert "VIO" in {c["code"] for c in told(referral)}
    assert "VIO" not in {c["code"] for c in LABELLER(referral)}
