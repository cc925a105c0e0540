"""Validation over HL7's and IHE's packages: tables equal to their definitions, examples that pass, memory."""

import csv
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from gateway.adapters.files.data import read_data
from gateway.adapters.files.packages import PackageFolder
from gateway.adapters.files.validation import open_validator
from gateway.codecs.fhir_json import second_opinion
from gateway.kernel.fhir import JsonObject
from gateway.profiles.facts import Facts
from gateway.profiles.issues import has_errors
from gateway.profiles.validate import Validator
from tests.support.shared import SHARED

assert SHARED is not None
PACKAGES: Final = SHARED / "packages"
CORE: Final = "hl7.fhir.r4.core-4.0.1"
LOADED: Final = (
    CORE,
    "hl7.fhir.us.core-7.0.0",
    "hl7.fhir.us.sdoh-clinicalcare-3.0.0",
    "ihe.iti.balp-1.1.5",
    "ihe.iti.pcf-1.1.1",
)
# examples that break a rule of R4 themselves, each looked at
FAULTY: Final[Mapping[str, str]] = {
    "definition.json": "sdf-4: a concrete logical model without a base",
    "event.json": "sdf-4",
    "fivews.json": "sdf-4",
    "request.json": "sdf-4",
    "devicemetric-example.json": "its parent is no Device",
    "questionnaireresponse-extensions-QuestionnaireResponse-item-subject.json": "an id of more than 64 characters",
    "library-zika-virus-intervention-logic.json": "a urn:oid: that is no OID",
    "Binary-B-ink.json": "data that is not base64",
}


def members(name: str) -> Iterator[tuple[str, bytes]]:
    """The JSON files of an archive."""
    with tarfile.open(PACKAGES / f"{name}.tgz", "r:gz") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name.endswith(".json") else None
            if content is not None:
                yield member.name, content.read()


def examples(name: str) -> Iterator[tuple[str, JsonObject]]:
    """The example resources of a package."""
    for path, data in members(name):
        if "/example/" in path:
            value = orjson.loads(data)
            if "resourceType" in value:
                yield Path(path).name, value


@pytest.fixture(scope="module", name="folder")
def folder_(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    for name in LOADED:
        PackageFolder(folder).add(PACKAGES / f"{name}.tgz")
    return folder


@pytest.fixture(scope="module", name="loaded")
def loaded_(folder: Path) -> Validator:
    return open_validator(folder)


@pytest.fixture(scope="module", name="spec")
def spec_() -> list[tuple[str, JsonObject]]:
    return [(Path(p).name, orjson.loads(data)) for p, data in members("r4-spec-examples-json-4.0.1")]


def test_specification_examples_pass_with_nothing_loaded(spec: list[tuple[str, JsonObject]]) -> None:
    validator = Validator(read_data)
    refused = {name for name, resource in spec if has_errors(validator.validate(resource))}
    assert len(spec) == 2459
    assert refused <= set(FAULTY)


def test_no_finding_on_the_examples_quotes_a_name(spec: list[tuple[str, JsonObject]]) -> None:
    validator = Validator(read_data)
    for _, resource in spec[:400]:
        broken = {**resource, "id": "Chalmers Peter", "birthDate": "Chalmers Peter"}
        assert not [i for i in validator.validate(broken) if "Chalmers" in i.diagnostics + i.expression]


@pytest.mark.parametrize("name", [*LOADED[1:], "hl7.fhir.us.core-6.1.0"])
def test_the_examples_of_a_package_pass_its_profiles(name: str, folder: Path, tmp_path: Path) -> None:
    where = folder
    if name not in LOADED:
        where = tmp_path
        for one in (CORE, name):
            PackageFolder(where).add(PACKAGES / f"{one}.tgz")
    validator = open_validator(where)
    found = {file: [i for i in validator.validate(r) if i.severity == "error"] for file, r in examples(name)}
    assert len(found) >= 45
    assert {file: wrong for file, wrong in found.items() if wrong and file not in FAULTY} == {}


def test_the_tables_say_what_the_definitions_say() -> None:
    """Elements, cardinality, types and targets of every R4 type, against HL7's own snapshots."""
    facts = Facts(read_data)
    checked = 0
    for path, data in members(CORE):
        if not Path(path).name.startswith("StructureDefinition-"):
            continue
        definition = orjson.loads(data)
        kind, type_ = definition["kind"], definition["type"]
        if kind not in ("resource", "complex-type") or definition.get("derivation") != "specialization":
            continue
        if definition.get("abstract") or definition["url"].rpartition("/")[2] != type_:
            continue
        stated = {f"{p}.{e.name}": e for p in paths_of(facts, type_) for e in (facts.type(p) or EMPTY).elements}
        for element in definition["snapshot"]["element"][1:]:
            name = element["path"].removesuffix("[x]")
            assert name in stated, name
            ours = stated[name]
            assert (ours.minimum, ours.many) == (element["min"], element["max"] == "*"), name
            codes = {t["code"] for t in element.get("type", ()) if not t["code"].startswith("http:")}
            if codes and not codes <= {"BackboneElement", "Element"}:
                assert {use.code for use in ours.types} == codes, name
            checked += 1
    assert checked > 6000


class EMPTY:
    """No elements."""

    elements: tuple[Any, ...] = ()


def paths_of(facts: Facts, root: str) -> list[str]:
    """The type and its backbone elements."""
    found, stack = [root], [root]
    while stack:
        for element in (facts.type(stack.pop()) or EMPTY).elements:
            for use in element.types:
                if "." in use.code and use.code not in found:
                    found.append(use.code)
                    stack.append(use.code)
    return found


def test_the_invariants_say_what_the_definitions_say() -> None:
    rows = list(csv.DictReader(io.StringIO(read_data("profiles/r4/invariants.csv"))))
    ours = {(row["key"], row["expression"]) for row in rows}
    theirs: set[tuple[str, str]] = set()
    for path, data in members(CORE):
        definition = orjson.loads(data) if "StructureDefinition-" in path else {}
        if definition.get("derivation") != "specialization" or definition.get("abstract"):
            continue
        if definition["kind"] not in ("resource", "complex-type"):
            continue
        for element in definition["snapshot"]["element"]:
            theirs |= {(c["key"], c["expression"]) for c in element.get("constraint", ())}
    native = {"ele-1", "ext-1", "dom-2", "dom-3", "dom-4", "dom-5", "dom-6", "txt-1", "txt-2", "inv-0"}
    assert {pair for pair in theirs if pair[0] not in native} - ours == set()


def test_fhir_resources_agrees_on_the_examples(spec: list[tuple[str, JsonObject]]) -> None:
    """The second opinion on a sample: where it refuses, we refuse, apart from what R4B changed."""
    validator = Validator(read_data)
    disagreed = []
    for name, resource in spec[::40]:
        places = second_opinion(resource)
        if places and not has_errors(validator.validate(resource)):
            disagreed.append((name, places))
    assert disagreed == []


MEASURE: Final = """
import sys
from pathlib import Path
from tests.conformance.test_validation import LOADED, examples, open_validator
validator = open_validator(Path(sys.argv[1]))
for name in LOADED[1:]:
    for _, one in examples(name):
        validator.validate(one)
status = Path("/proc/self/status").read_text()  # not ru_maxrss: that one begins with what the parent process held
print(int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024)
"""


def test_memory_stays_small_with_everything_loaded(folder: Path) -> None:
    """Peak resident memory of a process that validates all package examples, in MB."""
    done = subprocess.run([sys.executable, "-c", MEASURE, str(folder)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 250
