"""The tables of profiles/r4: made by the script beside them, complete, and every rule of them compiles."""

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from gateway.adapters.files.data import data_folder, read_data
from gateway.profiles.facts import Facts
from gateway.profiles.fhirpath import compile_expression

FACTS = Facts(read_data)


def script() -> ModuleType:
    """profiles/make_tables.py as a module."""
    path = data_folder("profiles") / "make_tables.py"
    spec = importlib.util.spec_from_file_location("make_tables", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")
def test_the_script_makes_the_table_that_is_here() -> None:
    assert script().table_text() == read_data("profiles/r4/elements.csv")


@pytest.mark.filterwarnings("ignore")
def test_the_script_makes_the_table_of_summaries_and_every_type_has_one() -> None:
    assert script().summary_text() == read_data("profiles/r4/summary.csv")
    assert FACTS.resource_types - {"Parameters", "Binary", "OperationOutcome"} <= {
        type_ for type_ in FACTS.resource_types if FACTS.summary(type_)
    }
    assert FACTS.summary("Patient") == frozenset({
        "active", "address", "birthDate", "deceased", "gender", "identifier", "link", "managingOrganization", "name",
        "telecom",
    })  # fmt: skip


def test_every_resource_type_of_r4_is_there() -> None:
    assert len(FACTS.resource_types) == 146
    for name in ("Patient", "Consent", "Task", "EpisodeOfCare", "Linkage", "MedicinalProduct", "Binary", "Parameters"):
        assert name in FACTS.resource_types


def test_every_type_that_is_named_is_stated() -> None:
    for root in sorted(FACTS.resource_types):
        stack, seen = [root], set()
        while stack:
            path = stack.pop()
            type_ = FACTS.type(path)
            assert type_ is not None, path
            seen.add(path)
            for element in type_.elements:
                for use in element.types:
                    if "." in use.code and use.code not in seen:
                        stack.append(use.code)
                    assert use.code[0].islower() or use.code == "Resource" or FACTS.type(use.code), use.code


def rows(name: str) -> list[dict[str, str]]:
    with (Path(data_folder("profiles")) / "r4" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", rows("invariants.csv"), ids=lambda row: f"{row['element']}-{row['key']}")
def test_every_invariant_compiles_and_stands_on_an_element(row: dict[str, str]) -> None:
    compile_expression(row["expression"])
    parent, _, name = row["element"].rpartition(".")
    known = FACTS.type(parent) if parent else FACTS.type(row["element"])
    assert known is not None, row["element"]
    assert not parent or FACTS.type(row["element"]) or name.removesuffix("[x]") in {e.name for e in known.elements}


def test_every_required_binding_has_its_codes_or_is_known_to_be_open() -> None:
    open_sets = {
        "http://hl7.org/fhir/ValueSet/mimetypes",  # BCP 13, checked by its form
        "http://hl7.org/fhir/ValueSet/ucum-units",  # a grammar
        "http://loinc.org/vs/LL379-9",  # LOINC's own
    }
    bound = {row["valueset"] for row in rows("bindings.csv")}
    assert {valueset for valueset in bound if FACTS.codes(valueset) is None} == open_sets
