"""Terminology tables: what ships is sound, mistakes name their line, and the operations answer from them."""

from pathlib import Path

import pytest

from gateway.adapters.files.data import read_data
from gateway.adapters.files.validation import open_validator, own_tables
from gateway.exchange.code_sets import CodeSets
from gateway.exchange.search_text import TokenValue
from gateway.kernel.errors import Invalid
from gateway.profiles.facts import Facts
from gateway.profiles.search_parameters import Parameter
from gateway.terminology import Terminology
from gateway.terminology.tables import read_tables

BASE = "https://doorway.example/fhir"
SYSTEMS = """system,code,display,definition,parent,retired
urn:a,mammal,Mammal,,,
urn:a,dog,Dog,barks,mammal,
urn:a,cat,Cat,,mammal,
urn:a,dodo,Dodo,,,true
"""
SETS = """valueset,system,code,display
urn:vs:pets,urn:a,dog,
urn:vs:pets,urn:a,cat,House cat
urn:vs:all,urn:a,,
urn:vs:both,valueset:urn:vs:pets,,
urn:vs:far,http://elsewhere.example,,
"""
MAPS = """map,source_system,source_code,source_display,equivalence,target_system,target_code,target_display,note
urn:m,urn:a,dog,Dog,equivalent,urn:b,canis,Canis,
urn:m,urn:a,dog,Dog,wider,urn:b,animal,Animal,
urn:m,urn:a,cat,Cat,unmatched,,,,looked at
urn:m,urn:a,*,,wider,urn:b,other,Other,
"""


@pytest.fixture(name="terminology")
def terminology_() -> Terminology:
    return Terminology(
        read_tables(
            [
                ("terminology/x.codesystem.csv", SYSTEMS),
                ("terminology/x.valueset.csv", SETS),
                ("terminology/x.conceptmap.csv", MAPS),
                ("terminology/x.canonical.csv", "url,name,title,version\nurn:a,Animals,All animals,2\n"),
                ("terminology/sensitivity/other.csv", "anything,goes\n1,2\n"),
            ]
        )
    )


def test_what_ships_makes_valid_fhir_resources(tmp_path: Path) -> None:
    validator = open_validator(tmp_path)
    for resource in own_tables().resources.values():
        found = [issue for issue in validator.validate(resource) if issue.severity != "information"]
        assert found == [], resource["url"]


def test_every_target_of_our_maps_in_our_own_systems_exists() -> None:
    terminology = Terminology(own_tables())
    for resource in terminology.tables.every("ConceptMap"):
        for group in resource["group"]:
            system = terminology.system(group.get("target", ""))
            codes = [t.get("code") for e in group["element"] for t in e.get("target", ())]
            assert system is None or {c for c in codes if c} <= set(system.concepts), resource["url"]


def test_a_value_set_holds_what_its_rows_say(terminology: Terminology) -> None:
    assert terminology.holds("urn:vs:pets", "urn:a", "dog") is True
    assert terminology.holds("urn:vs:pets", "urn:a", "mammal") is False
    assert terminology.holds("urn:vs:pets", None, "cat") is True
    assert terminology.holds("urn:vs:both", "urn:a", "cat") is True
    assert terminology.holds("urn:vs:all", "urn:a", "dodo") is True
    assert terminology.holds("urn:vs:all", "urn:a", "unicorn") is False


def test_what_cannot_be_known_is_not_guessed(terminology: Terminology) -> None:
    assert terminology.holds("urn:vs:far", "http://elsewhere.example", "x") is None
    assert terminology.holds("urn:vs:far", "urn:a", "x") is False
    assert terminology.holds("urn:vs:nowhere", "urn:a", "x") is None
    assert terminology.expand("urn:vs:far") is None


def test_an_expansion_has_the_displays_of_the_set_then_of_the_system(terminology: Terminology) -> None:
    codes = terminology.expand("urn:vs:both")
    assert codes is not None
    assert [(c.code, c.display) for c in codes] == [("dog", "Dog"), ("cat", "House cat")]


def test_translations_come_in_the_order_of_the_file(terminology: Terminology) -> None:
    found = terminology.translate("urn:m", "urn:a", "dog")
    assert [(m.equivalence, m.code) for m in found] == [("equivalent", "canis"), ("wider", "animal")]


def test_unmatched_is_an_answer_and_a_star_is_for_the_rest(terminology: Terminology) -> None:
    assert [m.usable for m in terminology.translate("urn:m", "urn:a", "cat")] == [False]
    assert [m.code for m in terminology.translate("urn:m", "urn:a", "dodo")] == ["other"]
    assert terminology.translate("urn:m", "urn:b", "dodo") == []


def test_a_map_can_be_read_backwards(terminology: Terminology) -> None:
    found = terminology.translate("", "urn:b", "animal", reverse=True)
    assert [(m.equivalence, m.system, m.code) for m in found] == [("narrower", "urn:a", "dog")]


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("t/a.codesystem.csv", "system,cod\nurn:a,1\n", "t/a.codesystem.csv:1: unknown column 'cod'"),
        ("t/a.codesystem.csv", "system\nurn:a\n", "t/a.codesystem.csv:1: column 'code' is missing"),
        ("t/a.codesystem.csv", "system,code\nurn:a,1\nurn:a,1\n", "t/a.codesystem.csv:3: the code stands twice"),
        ("t/a.codesystem.csv", "system,code\nurn:a,\n", "t/a.codesystem.csv:2: column 'code' is empty"),
        ("t/a.codesystem.csv", "system,code\nurn:a,1,2\n", "t/a.codesystem.csv:2: 3 cells under 2 columns"),
        ("t/a.codesystem.csv", "system,code,retired\nurn:a,1,yes\n", "t/a.codesystem.csv:2: retired must be"),
        (
            "t/a.conceptmap.csv",
            "map,source_system,source_code,equivalence\nm,s,c,same\n",
            "t/a.conceptmap.csv:2: no such equivalence",
        ),
        (
            "t/a.conceptmap.csv",
            "map,source_system,source_code,equivalence\nm,s,c,equal\n",
            "t/a.conceptmap.csv:2: the target code is empty",
        ),
    ],
)
def test_a_mistake_names_its_line(file: str, text: str, complaint: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_tables([(file, text)])
    assert str(caught.value).startswith(complaint)


def test_sets_and_hierarchies_come_to_the_tokens_of_a_search() -> None:
    files = [("a.codesystem.csv", SYSTEMS), ("a.valueset.csv", SETS)]
    sets = CodeSets(Terminology(read_tables(files)), Facts(read_data))
    coded, plain = Parameter("Observation", "code", "token", "code"), Parameter("Patient", "gender", "token", "gender")

    def codes(modifier: str, text: str, parameter: Parameter = coded) -> list[str]:
        found = sets(parameter, modifier, text, "code")
        return [f"{one.system}|{one.code}" for one in found if isinstance(one, TokenValue)]

    assert codes("in", "urn:vs:both") == ["urn:a|dog", "urn:a|cat"]
    assert codes("not-in", "urn:a") == ["urn:a|mammal", "urn:a|dog", "urn:a|cat", "urn:a|dodo"]
    assert codes("below", "urn:a|mammal") == ["urn:a|mammal", "urn:a|dog", "urn:a|cat"]
    assert codes("above", "urn:a|dog") == ["urn:a|dog", "urn:a|mammal"]
    assert codes("in", "urn:vs:pets", plain) == ["urn:a|dog", "urn:a|cat", "|dog", "|cat"]
    for modifier, text in (("in", "urn:vs:far"), ("in", "urn:vs:none"), ("below", "urn:none|x"), ("below", "dog")):
        with pytest.raises(Invalid, match=r"^code: "):
            codes(modifier, text)


def test_a_display_of_the_value_set_or_in_another_language_is_right() -> None:
    terminology = Terminology(read_tables([("a.codesystem.csv", SYSTEMS), ("a.valueset.csv", SETS)]))
    assert terminology.display("urn:vs:both", "urn:a", "cat") == "House cat"
    assert terminology.display("urn:vs:pets", "urn:a", "dog") == "Dog"
    assert terminology.display("urn:vs:none", "urn:a", "dog") == "Dog"
    assert terminology.display("urn:vs:far", "http://elsewhere.example", "x") == ""
