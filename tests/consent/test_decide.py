"""What consent decide answers: elements, several Consents and patients, dialects, R5, lenient intake, bad lines."""

from typing import Any

import pytest

from gateway.consent.decide import decide
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import JsonObject
from tests.consent.build import actor, consent, label, labels, line, observation, purposes, words

HOSPITAL = actor("Organization/h")
GOOGLE = "https://g.co/fhir/medicalrecords/"


def answer(*args: Any, **more: Any) -> JsonObject:
    return decide(line(*args, **more), words())


def permitted(*args: Any, **more: Any) -> list[str]:
    return [r["reference"] for r in answer(*args, **more)["resources"] if r["decision"] == "permit"]


def asker(*actors: str, purposes: tuple[str, ...] = ("TREAT",), **more: Any) -> JsonObject:
    return {"actors": [{"reference": a} for a in actors], "purposes": list(purposes), **more}


# ---- request group


@pytest.mark.parametrize(
    ("stated", "declared", "decision"),
    [
        (["TREAT"], ["TREAT"], "permit"),
        (["TREAT"], ["ETREAT"], "permit"),  # a descendant
        (["TREAT"], ["BTG"], "none"),  # never by subsumption
        (["ETREAT"], ["BTG"], "none"),
        (["BTG"], ["BTG"], "permit"),
        (["HRESCH"], ["CLINTRCHNPC"], "permit"),
        (["CLINTRCH"], ["HRESCH"], "none"),  # the child does not cover its parent
        (["TREAT"], [], "none"),  # undeclared: no match for a permission
        (["TREAT", "HPAYMT"], ["HPAYMT"], "permit"),
    ],
)
def test_purposes_of_a_permission(stated: list[str], declared: list[str], decision: str) -> None:
    c = consent({"type": "permit", "purpose": purposes(*stated)})
    assert answer([c], asker=asker("Organization/h", purposes=tuple(declared)))["decision"] == decision


def test_an_undeclared_purpose_matches_a_denial() -> None:
    c = consent({"type": "permit", "provision": [{"type": "deny", "purpose": purposes("HRESCH")}]})
    assert answer([c], asker=asker("Organization/h", purposes=()))["decision"] == "deny"
    assert answer([c], asker=asker("Organization/h"))["decision"] == "permit"


@pytest.mark.parametrize(
    ("now", "decision"),
    [
        ("2026-12-31T23:59:59-07:00", "permit"),  # the last second of the day in the civil zone of the request
        ("2027-01-01T00:00:00-07:00", "none"),
        ("2027-01-01T06:30:00Z", "none"),
        ("2025-12-31T23:59:59-07:00", "none"),
        ("2026-01-01T00:00:00-07:00", "permit"),
    ],
)
def test_a_period_ends_with_the_last_instant_of_its_day_in_the_civil_zone(now: str, decision: str) -> None:
    c = consent({"type": "permit", "period": {"start": "2026-01-01", "end": "2026-12-31"}})
    assert answer([c], now=now)["decision"] == decision


def test_a_month_ends_with_its_last_day_and_a_nested_period_is_intersected() -> None:
    inner = {"type": "permit", "period": {"end": "2026-02"}, "class": [{"code": "Observation"}]}
    c = consent({"type": "deny", "period": {"start": "2026-02-10"}, "provision": [inner]})
    at = {
        day: permitted([c], [observation()], now=f"{day}T12:00:00Z")
        for day in ("2026-02-09", "2026-02-28", "2026-03-01")
    }
    assert at == {"2026-02-09": [], "2026-02-28": ["Observation/o"], "2026-03-01": []}


def test_actors_match_by_group_role_parent_and_identifier() -> None:
    related = [
        {
            "resourceType": "Group",
            "id": "g",
            "member": [
                {"entity": {"reference": "Practitioner/a"}},
                {"entity": {"reference": "Practitioner/gone"}, "inactive": True},
            ],
        },
        {
            "resourceType": "PractitionerRole",
            "id": "r",
            "practitioner": {"reference": "Practitioner/b"},
            "organization": {"reference": "Organization/ward"},
        },
        {"resourceType": "Organization", "id": "ward", "partOf": {"reference": "Organization/h"}},
        {"resourceType": "Organization", "id": "h", "identifier": [{"system": "s", "value": "7"}]},
    ]
    by = {
        "group": consent({"type": "permit", "actor": [actor("Group/g")]}),
        "org": consent(
            {
                "type": "permit",
                "actor": [
                    {"role": {"coding": [{"code": "PRCP"}]}, "reference": {"identifier": {"system": "s", "value": "7"}}}
                ],
            }
        ),
    }
    said = {
        (name, who): answer([c], asker=asker(who), related=related)["decision"]
        for name, c in by.items()
        for who in ("Practitioner/a", "Practitioner/b", "Practitioner/gone", "PractitionerRole/r")
    }
    assert {pair for pair, decision in said.items() if decision == "permit"} == {
        ("group", "Practitioner/a"),
        ("org", "Practitioner/b"),
        ("org", "PractitionerRole/r"),
    }
    caller = {"actors": [{"system": "s", "value": "7"}], "purposes": ["TREAT"]}
    named = consent({"type": "permit", "actor": [HOSPITAL]})
    assert answer([named], asker=caller, related=related)["decision"] == "permit"


def test_who_cannot_be_told_apart_is_denied_and_never_permitted() -> None:
    stranger = {"actors": [{"system": "s", "value": "unheard"}], "purposes": ["TREAT"]}
    assert answer([consent({"type": "permit", "actor": [HOSPITAL]})], asker=stranger)["decision"] == "none"
    shut = consent({"type": "permit", "provision": [{"type": "deny", "actor": [HOSPITAL]}]})
    assert answer([shut], asker=stranger)["decision"] == "deny"
    grouped = consent({"type": "permit", "provision": [{"type": "deny", "actor": [actor("Group/unknown")]}]})
    assert answer([grouped])["decision"] == "deny"


def test_a_custodian_is_not_a_recipient_and_an_author_limits_the_data() -> None:
    held = consent({"type": "permit", "actor": [actor("Organization/h", "CST")]})
    assert answer([held])["decision"] == "none"
    written = consent({"type": "permit", "actor": [HOSPITAL, actor("Practitioner/w", "AUT")]})
    by_w = observation("w", performer=[{"reference": "Practitioner/w"}])
    assert permitted([written], [observation(), by_w]) == ["Observation/w"]


@pytest.mark.parametrize(
    ("stated", "asked_for", "decision"),
    [
        ("access", "read", "permit"),
        ("access", "search", "permit"),
        ("access", "disclose", "none"),
        ("correct", "access", "none"),
        ("use", "use", "permit"),
    ],
)
def test_actions(stated: str, asked_for: str, decision: str) -> None:
    c = consent({"type": "permit", "action": [{"coding": [{"code": stated}]}]})
    assert answer([c], asker=asker("Organization/h", action=asked_for))["decision"] == decision


# ---- data group


def test_confidentiality_is_a_high_water_mark_in_both_directions() -> None:
    marked = [observation(code.lower(), code) for code in "ULMNRV"] + [
        observation("bare"),
        observation("mixed", "N", "R"),
    ]
    upto = consent({"type": "permit", "securityLabel": labels("N")})
    assert permitted([upto], marked) == [f"Observation/{c}" for c in "ulmn"]
    not_from = consent({"type": "permit", "provision": [{"type": "deny", "securityLabel": labels("R")}]})
    assert permitted([not_from], marked) == [f"Observation/{c}" for c in "ulmn"]


def test_a_sensitivity_covers_what_lies_below_and_an_unlabelled_resource_is_never_released_by_a_label() -> None:
    shown = [observation("eth", "ETH"), observation("ud", "ETHUD"), observation("n", "N"), observation("bare")]
    only = consent({"type": "permit", "securityLabel": labels("ETH")})
    assert permitted([only], shown) == ["Observation/eth", "Observation/ud"]
    without = consent({"type": "permit", "provision": [{"type": "deny", "securityLabel": labels("ETH")}]})
    assert permitted([without], shown) == ["Observation/n"]


def test_elements_of_one_provision_narrow_each_other_and_values_widen() -> None:
    c = consent({"type": "permit", "securityLabel": labels("PSY", "SDV"), "class": [{"code": "Condition"}]})
    condition = {
        "resourceType": "Condition",
        "id": "c",
        "subject": {"reference": "Patient/p"},
        "meta": {"security": labels("SDV")},
    }
    assert permitted([c], [condition, observation("o", "SDV")]) == ["Condition/c"]


def test_codes_cover_what_the_code_itself_shows_to_lie_below() -> None:
    icd = "http://hl7.org/fhir/sid/icd-10-cm"
    c = consent({"type": "permit", "code": [{"coding": [{"system": icd, "code": "F10"}]}]})
    found = [
        {
            "resourceType": "Condition",
            "id": code.lower().replace(".", ""),
            "subject": {"reference": "Patient/p"},
            "code": {"coding": [{"system": icd, "code": code}]},
        }
        for code in ("F10", "F10.20", "F11.1", "F1")
    ]
    assert permitted([c], found) == ["Condition/f10", "Condition/f1020"]


def test_a_code_in_words_only_is_unknown() -> None:
    words_only = observation("t", code={"text": "glucose"})
    coding = [{"coding": [{"system": "http://loinc.org", "code": "2339-0"}]}]
    assert permitted([consent({"type": "permit", "code": coding})], [words_only, observation()]) == ["Observation/o"]
    shut = consent({"type": "permit", "provision": [{"type": "deny", "code": coding}]})
    assert permitted([shut], [words_only, observation("x", code={"coding": [{"code": "y"}]})]) == ["Observation/x"]


def test_undated_data_is_outside_a_permitted_window_and_inside_a_denied_one() -> None:
    dated = observation("d", effectiveDateTime="2022-06-13")
    late = observation("l", effectiveDateTime="2023-01-01T00:00:00Z")
    window = {"start": "2022-01-01", "end": "2022-12-31"}
    assert permitted([consent({"type": "permit", "dataPeriod": window})], [dated, late, observation()]) == [
        "Observation/d"
    ]
    shut = consent({"type": "permit", "provision": [{"type": "deny", "dataPeriod": window}]})
    assert permitted([shut], [dated, late, observation()]) == ["Observation/l"]


@pytest.mark.parametrize(
    ("meaning", "dialect", "expected"),
    [
        ("instance", "r4", ["Encounter/e"]),
        ("dependents", "r4", ["Encounter/e", "Observation/in"]),
        ("related", "r4", ["Encounter/e", "Observation/cause"]),
        ("related", "pcf", ["Encounter/e", "Observation/in"]),
    ],
)
def test_what_a_named_instance_covers(meaning: str, dialect: str, expected: list[str]) -> None:
    encounter = {
        "resourceType": "Encounter",
        "id": "e",
        "subject": {"reference": "Patient/p"},
        "reasonReference": [{"reference": "Observation/cause"}],
    }
    inside = observation("in", encounter={"reference": "Encounter/e"})
    c = consent({"type": "permit", "data": [{"meaning": meaning, "reference": {"reference": "Encounter/e"}}]})
    found = permitted([c], [encounter, inside, observation("cause"), observation("other")], dialect=dialect)
    assert sorted(found) == expected


def test_what_an_absent_instance_refers_to_cannot_be_told() -> None:
    related = [{"meaning": "related", "reference": {"reference": "Encounter/elsewhere"}}]
    assert permitted([consent({"type": "permit", "data": related})], [observation()]) == []
    assert (
        permitted([consent({"type": "permit", "provision": [{"type": "deny", "data": related}]})], [observation()])
        == []
    )


# ---- nesting


def test_the_exception_beats_what_it_is_an_exception_to_at_any_depth() -> None:
    tree: JsonObject = {"type": "permit", "securityLabel": labels("V")}
    for kind, code in (("deny", "ETHUD"), ("permit", "ETHUD"), ("deny", "ETHUD")):
        tree = {"type": kind, "securityLabel": [label(code)], "provision": [tree]}
    c = consent({"type": "permit", "provision": [tree]})
    assert permitted([c], [observation("o", "N"), observation("ud", "ETHUD", "R")]) == [
        "Observation/o",
        "Observation/ud",
    ]


def test_siblings_deny_over_permit() -> None:
    two = [{"type": "permit", "securityLabel": labels("R")}, {"type": "deny", "securityLabel": labels("SDV")}]
    c = consent({"type": "deny", "provision": two})
    assert permitted([c], [observation("r", "R"), observation("s", "R", "SDV")]) == ["Observation/r"]


def test_a_permission_is_narrowed_by_silence_and_a_denial_never() -> None:
    rd = [actor("Practitioner/r")]
    narrow = consent(
        {
            "type": "permit",
            "class": [{"code": "Observation"}],
            "actor": [HOSPITAL],
            "provision": [{"type": "permit", "actor": rd}],
        }
    )
    condition = {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"}}
    assert permitted([narrow], [observation(), condition], asker=asker("Practitioner/r")) == ["Observation/o"]
    wide = consent({"type": "permit", "class": [{"code": "Observation"}], "provision": [{"type": "deny", "actor": rd}]})
    assert permitted([wide], [observation(), condition], asker=asker("Practitioner/r")) == []


# ---- effect of the root


@pytest.mark.parametrize(
    ("rule", "decision"), [("OPTIN", "permit"), ("OPTOUT", "deny"), ("EMRGONLY", "deny"), ("other", "deny")]
)
def test_a_root_without_type_takes_the_policy(rule: str, decision: str) -> None:
    policy = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": rule}]}
    assert answer([consent({"period": {"start": "2026-01-01"}}, policyRule=policy)])["decision"] == decision


def test_a_root_without_type_and_with_criteria_is_an_exception_to_the_policy() -> None:
    policy = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN"}]}
    c = consent({"actor": [HOSPITAL]}, policyRule=policy)
    said = answer([c])
    assert said["decision"] == "deny"
    assert any("exception to the policy" in text for text in said["warnings"])
    assert answer([c], asker=asker("Organization/other"))["decision"] == "permit"


# ---- several Consents and patients


def test_a_denial_wins_over_a_later_permission() -> None:
    deny = consent({"type": "deny"}, "d", dateTime="2026-01-01")
    permit = consent({"type": "permit"}, "p", dateTime="2026-05-01")
    for consents in ([deny, permit], [permit, deny]):
        assert answer(consents)["decision"] == "deny"
        assert permitted(consents, [observation()]) == []


def test_the_same_form_given_later_replaces_and_so_does_a_link() -> None:
    form = {"sourceReference": {"reference": "DocumentReference/form-1"}}
    deny = consent({"type": "deny"}, "d", dateTime="2026-01-01", **form)
    permit = consent({"type": "permit"}, "p", dateTime="2026-05-01", **form)
    assert answer([permit, deny])["decision"] == "permit"
    elsewhere = permit | {"organization": [{"reference": "Organization/else"}]}
    assert answer([elsewhere, deny])["decision"] == "deny"
    not_yet = permit | {"provision": {"type": "permit", "period": {"start": "2026-07-01"}}}
    assert answer([not_yet, deny])["decision"] == "deny"
    link = {
        "extension": [
            {"url": "http://hl7.org/fhir/StructureDefinition/replaces", "valueReference": {"reference": "Consent/d"}}
        ]
    }
    assert answer([consent({"type": "permit"}, "q", **link), consent({"type": "deny"}, "d")])["decision"] == "permit"


LATER = {"dateTime": "2026-05-01", "sourceReference": {"reference": "DocumentReference/form-1"}}


@pytest.mark.parametrize(
    ("status", "provision", "decision"),
    [
        ("inactive", {"type": "permit"}, "deny"),  # signed anew, then ended
        ("rejected", {"type": "permit"}, "deny"),  # asked again, and refused
        ("rejected", None, "deny"),
        ("unknown", {"type": "permit"}, "deny"),
        ("inactive", {"type": "deny"}, "permit"),  # a denial that was ended
        ("entered-in-error", {"type": "permit"}, "permit"),
        ("draft", {"type": "permit"}, "permit"),
        ("proposed", {"type": "permit"}, "permit"),
        ("not-done", {"type": "permit"}, "permit"),
        ("inactive", {"type": "permit", "period": {"start": "2026-07-01"}}, "permit"),  # it never was in force
    ],
)
def test_a_form_signed_anew_and_ended_does_not_bring_the_older_one_back(
    status: str, provision: JsonObject | None, decision: str
) -> None:
    first = consent({"type": "permit"}, "first", **{**LATER, "dateTime": "2026-01-01"})
    again = consent(provision or {}, "again", status=status, **LATER)
    if provision is None:
        del again["provision"]
    for consents in ([first, again], [again, first]):
        assert answer(consents)["decision"] == decision
        assert answer(consents, domain_default="permit")["decision"] == decision  # a revocation is no silence
        assert permitted(consents, [observation()]) == (["Observation/o"] if decision == "permit" else [])
    other_form = again | {"sourceReference": {"reference": "DocumentReference/form-2"}}
    assert answer([first, other_form])["decision"] == "permit"
    signed_later = consent({"type": "permit"}, "third", **{**LATER, "dateTime": "2026-05-20"})
    assert answer([first, again, signed_later])["decision"] == "permit"


def test_what_was_taken_back_still_denies_what_it_denied() -> None:
    refusal = {"type": "deny", "securityLabel": [label("SDV")]}
    first = consent({"type": "permit", "provision": [refusal]}, "first", **{**LATER, "dateTime": "2026-01-01"})
    again = consent({"type": "permit"}, "again", status="inactive", **LATER)
    wide = consent({"type": "permit"}, "wide")
    marked = observation(meta={"security": [label("SDV")]})
    told = answer([first, again, wide], resources=[marked, observation("plain", meta={"security": [label("N")]})])
    assert [one["decision"] for one in told["resources"]] == ["deny", "permit"]
    alone = answer([first, again], resources=[observation(meta={"security": [label("N")]})])
    assert alone["resources"][0]["because"] == [
        {"consent": "Consent/first", "provision": "provision", "element": "withdrawn"}
    ]
    link = {"url": "http://hl7.org/fhir/StructureDefinition/replaces", "valueReference": {"reference": "Consent/wide"}}
    assert answer([wide, consent({"type": "permit"}, "x", status="inactive", extension=[link])])["decision"] == "deny"


def test_every_patient_named_must_permit() -> None:
    both = observation("both", focus=[{"reference": "Patient/q"}])
    mine, other = consent({"type": "permit"}), consent({"type": "deny"}, "q", patient={"reference": "Patient/q"})
    assert permitted([mine, other], [observation(), both]) == ["Observation/o"]
    assert permitted([mine], [observation(), both]) == ["Observation/o"]
    willing = other | {"provision": {"type": "permit"}}
    assert permitted([mine, willing], [observation(), both]) == ["Observation/o", "Observation/both"]


def test_everybody_in_a_group_that_a_resource_is_about_must_permit() -> None:
    session = observation(subject={"reference": "Group/g", "type": "Group"})
    group = {"resourceType": "Group", "id": "g", "member": [{"entity": {"reference": "Patient/p"}}]}
    two = group | {"member": [*group["member"], {"entity": {"reference": "Patient/q"}}]}
    mine, other = consent({"type": "permit"}), consent({"type": "permit"}, "q", patient={"reference": "Patient/q"})
    assert permitted([mine], [session]) == []  # who is in it?
    assert permitted([mine], [session], related=[group]) == ["Observation/o"]
    assert permitted([mine], [session], related=[two]) == []
    assert permitted([mine, other], [session], related=[two]) == ["Observation/o"]
    assert permitted([mine], [session], related=[group | {"member": [{"entity": {"display": "zq"}}]}]) == []


def test_the_domain_default_holds_where_no_consent_says_anything() -> None:
    assert answer([], domain_default="permit")["decision"] == "none"
    assert permitted([], [observation()], domain_default="permit") == ["Observation/o"]
    assert permitted([], [observation()]) == []
    limited = consent({"type": "permit", "class": [{"code": "Condition"}]})
    assert permitted([limited], [observation()], domain_default="permit") == []  # the first permission closes the world


def test_category_and_status_select() -> None:
    c = consent({"type": "permit"})
    treatment = {"category": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "treatment"}]}
    assert answer([c], **treatment)["decision"] == "none"
    assert answer([c], category=[{"system": "http://loinc.org", "code": "59284-0"}])["decision"] == "permit"
    for status in ("draft", "proposed", "rejected", "inactive", "entered-in-error"):
        assert answer([c | {"status": status}])["decision"] == "none"


# ---- what cannot be honoured


@pytest.mark.parametrize(
    "spoil",
    [
        {"status": "sleeping"},
        {"modifierExtension": [{"url": "x", "valueBoolean": True}]},
        {"implicitRules": "x"},
        {"provision": {"type": "permit", "modifierExtension": [{"url": "x"}]}},
        {"provision": {"type": "perhaps"}},
        {"provision": {"type": "permit", "unheardOf": 1}},
        {"provision": "permit"},
        {"provision": {"type": "permit", "provision": [7]}},
        {"patient": {"display": "somebody"}},
    ],
)
def test_an_unreadable_consent_denies_and_does_not_vanish(spoil: JsonObject) -> None:
    said = answer([consent({"type": "permit"}), consent({"type": "permit"}, "bad") | spoil], [observation()])
    assert said["decision"] == "deny"
    assert said["resources"][0]["decision"] == "deny"
    assert any(text.startswith("Consent/bad: ") for text in said["warnings"])


@pytest.mark.parametrize("item", [None, 7, "x", [], {"resourceType": "Patient", "id": "x"}])
def test_what_is_no_consent_denies(item: Any) -> None:
    assert answer([item, consent({"type": "permit"})])["decision"] == "deny"


def test_an_unreadable_period_is_no_permission_and_still_a_denial() -> None:
    bad = {"period": {"start": "soon"}}
    assert answer([consent({"type": "permit", **bad})])["decision"] == "none"
    assert answer([consent({"type": "permit", "provision": [{"type": "deny", **bad}]})])["decision"] == "deny"


def test_what_can_be_repaired_is_repaired_and_told() -> None:
    c = consent({"type": " Permit ", "purpose": purposes("TREAT")[0], "actor": {"reference": "Organization/h"}})
    c["status"] = "Active"
    said = answer([c])
    assert said["decision"] == "permit"
    assert len(said["warnings"]) >= 4
    one = consent({}) | {"provision": [{"type": "permit"}]}
    assert answer([one])["decision"] == "permit"


# ---- dialects


def test_r5_levels_alternate_and_losses_are_told() -> None:
    r5 = {
        "resourceType": "Consent",
        "id": "five",
        "status": "active",
        "subject": {"reference": "Patient/p"},
        "date": "2026-01-01",
        "decision": "permit",
        "period": {"end": "2026-12-31"},
        "grantee": [{"reference": "Organization/h"}],
        "provision": [{"securityLabel": labels("R"), "provision": [{"resourceType": [{"code": "Condition"}]}]}],
    }
    condition = {
        "resourceType": "Condition",
        "id": "c",
        "subject": {"reference": "Patient/p"},
        "meta": {"security": labels("R")},
    }
    said = answer([r5], [observation("n", "N"), observation("r", "R"), condition])
    assert said["dialects"] == {"Consent/five": "r5"}
    assert [r["decision"] for r in said["resources"]] == ["permit", "deny", "permit"]
    assert said["resources"][1]["because"][0]["provision"] == "provision[0]"
    assert any("grantee" in text for text in said["warnings"])
    assert answer([r5], now="2027-01-01T00:00:00Z")["decision"] == "none"
    unclear = r5 | {"provision": [{"expression": {"language": "text/fhirpath", "expression": "true"}}]}
    assert permitted([unclear], [observation()]) == []


def test_leap_flips_takes_the_newest_and_joins_codes() -> None:
    optout = consent(
        {"type": "deny", "provision": [{"type": "deny", "actor": [HOSPITAL]}]}, "out", dateTime="2019-11-01"
    )
    assert answer([optout], dialect="leap-flip")["decision"] == "permit"
    assert answer([optout], dialect="r4")["decision"] == "deny"
    older = consent({"type": "deny"}, "older", dateTime="2010-11-01")
    newer = consent({"type": "permit"}, "newer", dateTime="2019-11-01")
    assert answer([newer, older], dialect="leap-flip")["decision"] == "permit"
    rule = {
        "type": "deny",
        "securityLabel": labels("R"),
        "class": [{"system": "http://hl7.org/fhir/resource-types", "code": "MedicationStatement"}],
    }
    c = consent({"type": "permit", "provision": [rule]})
    said = answer([c], dialect="leap-flip")
    assert said["obligations"] == [{"redact": {"codes": [*rule["securityLabel"], *rule["class"]]}, "except": False}]
    assert answer([c], dialect="leap-flip", **{"class": ["MedicationStatement"]})["decision"] == "deny"
    assert answer([c], dialect="leap-flip", **{"class": ["Immunization"]})["decision"] == "permit"


def test_google_directives_stand_alone_and_need_an_actor() -> None:
    env = [
        {"url": f"{GOOGLE}Environment", "valueCodeableConcept": {"coding": [{"system": "App", "code": "123"}]}},
        {"url": f"{GOOGLE}DataSource", "valueUri": "http://example.com/HappyHospital"},
    ]
    c = consent({"type": "permit", "actor": [HOSPITAL], "extension": env})
    here = observation("here", meta={"source": "http://example.com/HappyHospital"})
    said = answer([c], [here, observation()], asker=asker("Organization/h", environment="App/123"))
    assert said["dialects"] == {"Consent/c": "google"}
    assert [r["decision"] for r in said["resources"]] == ["permit", "deny"]
    assert permitted([c], [here], asker=asker("Organization/h", environment="App/9")) == []
    anyone = consent({"type": "permit"})
    assert answer([anyone], dialect="google")["decision"] == "deny"


def test_mii_reads_a_nested_period_as_a_window_on_the_data_and_codes_as_uses() -> None:
    use = {"system": "urn:oid:2.16.840.1.113883.3.1937.777.24.5.3", "code": "6"}
    inner = {"type": "permit", "period": {"start": "2020-01-01", "end": "2022-12-31"}, "code": [{"coding": [use]}]}
    c = consent({"type": "deny", "period": {"start": "2020-01-01", "end": "2050-12-31"}, "provision": [inner]})
    old, new = observation("old", effectiveDateTime="2021-05-05"), observation("new", effectiveDateTime="2024-05-05")
    said = answer([c], [old, new], code=[use], dialect="mii")
    assert [r["decision"] for r in said["resources"]] == ["permit", "deny"]
    assert permitted([c], [old], dialect="mii") == []


# ---- the shape


def test_the_residual_nests_exceptions_and_obligations_follow() -> None:
    sdv = labels("SDV")
    c = consent({"type": "permit", "actor": [HOSPITAL], "provision": [{"type": "deny", "securityLabel": sdv}]})
    said = answer([c])
    assert said["residual"] == [{"effect": "permit", "except": [{"effect": "deny", "securityLabel": sdv}]}]
    assert said["obligations"] == [{"redact": {"codes": sdv}, "except": False}]
    closed = answer([consent({"type": "permit", "securityLabel": sdv})])
    assert closed["obligations"] == [{"redact": {"codes": sdv}, "except": True}]


def test_asked_classes_stand_for_resources_when_none_are_at_hand() -> None:
    c = consent({"type": "permit", "class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Observation"}]})
    assert answer([c], **{"class": ["Observation"]})["decision"] == "permit"
    assert answer([c], **{"class": ["Condition"]})["decision"] == "deny"
    assert answer([c])["decision"] == "permit"


@pytest.mark.parametrize(
    ("spoil", "place"),
    [
        ({"now": None}, "now"),
        ({"now": "2026-01-01"}, "now"),
        ({"now": "2026-13-01T00:00:00Z"}, "now"),
        ({"now": "0001-01-01T00:00:00+14:00"}, "now"),
        ({"id": 7}, "id"),
        ({"consents": {}}, "consents"),
        ({"resources": [7]}, "resources[0]"),
        ({"related": [{}]}, "related[0]"),
        ({"dialect": "latin"}, "dialect"),
        ({"domain_default": "maybe"}, "domain_default"),
        ({"asker": []}, "asker"),
        ({"asker": {"actors": [{"display": "x"}]}}, "asker.actors[0]"),
        ({"asker": {"purposes": [{}]}}, "asker.purposes[0]"),
        ({"class": [{"system": "x"}]}, "class"),
    ],
)
def test_a_line_that_is_no_request_is_told_where(spoil: JsonObject, place: str) -> None:
    with pytest.raises(Invalid) as caught:
        decide(line([]) | spoil, words())
    assert caught.value.at == place
