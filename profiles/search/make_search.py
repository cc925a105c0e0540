"""Writes parameters.csv and compartments.csv from the definitions of FHIR R4 core.

Run: python profiles/search/make_search.py FOLDER, where FOLDER holds the unpacked package (JSON files).
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from gateway.kernel.errors import Unsupported
from gateway.profiles.search_paths import compile_path, from_fhirpath

HERE = Path(__file__).parent
MANY = 60  # more targets than this: any type, written *
LEFT_OUT = {"phonetic"}  # promises a matching that the search does not do
OURS = [  # the first two are asked for by SDOH Clinical Care and not in core
    ("Task", "output", "reference", "output.valueReference", "*"),
    ("ServiceRequest", "supporting-info", "reference", "supportingInfo", "*"),
    ("InsurancePlan", "name", "string", "name | alias", ""),  # core's expression lacks the type
]


def definitions(folder: Path, type_: str) -> Iterator[dict[str, Any]]:
    """The definitional resources of one type."""
    for file in sorted(folder.glob(f"{type_}-*.json")):
        yield json.loads(file.read_text(encoding="utf-8"))


def choices(folder: Path) -> tuple[set[str], set[str]]:
    """Element paths that are choices, and the names of all resource types."""
    paths, resources = set(), set()
    for definition in definitions(folder, "StructureDefinition"):
        if definition.get("derivation") == "constraint":
            continue
        if definition["kind"] == "resource" and not definition["abstract"]:
            resources.add(definition["type"])
        for element in definition.get("snapshot", {}).get("element", ()):
            if element["path"].endswith("[x]"):
                paths.add(element["path"].removesuffix("[x]"))
    return paths, resources


def parameters(folder: Path) -> Iterator[tuple[str, str, str, str, str]]:
    """Rows of parameters.csv."""
    paths, resources = choices(folder)
    by_url = {
        found["url"]: found
        for found in definitions(folder, "SearchParameter")
        if "example" not in found["id"]
        and found.get("expression")
        and found["type"] != "special"
        and found["code"] not in LEFT_OUT
        and "%resource" not in str(found.get("component"))
    }
    for found in by_url.values():
        for base in found["base"]:
            if base == "DomainResource" or (base != "Resource" and base not in resources):
                continue
            try:
                path = from_fhirpath(found["expression"], base, paths.__contains__)
                if path:
                    compile_path(path)
                if found["type"] == "composite":
                    path += " : " + " : ".join(
                        f"{by_url[part['definition']]['code']} {relative(part['expression'], base, paths)}"
                        for part in found["component"]
                    )
            except Unsupported:
                sys.stderr.write(f"left out: {base} {found['code']}\n")
                continue
            if path:
                targets = [target for target in found.get("target", ()) if f"[->{target}]" in path or "[->" not in path]
                any_type = len(targets) > MANY
                yield base, found["code"], found["type"], path, "*" if any_type else " ".join(sorted(targets))


def relative(expression: str, base: str, paths: set[str]) -> str:
    """The path of a composite's component, relative to the node that the composite is about."""

    def known(path: str) -> bool:
        return path in paths or path.endswith(".value")

    parts = [part.strip() for part in expression.split("|")]
    rooted = " | ".join(f"({base}.{part[1:]}" if part.startswith("(") else f"{base}.{part}" for part in parts)
    return from_fhirpath(rooted, base, known)


def compartments(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Rows of compartments.csv."""
    for found in definitions(folder, "CompartmentDefinition"):
        for resource in found["resource"]:
            if resource.get("param"):
                yield found["code"], resource["code"], " ".join(resource["param"])


def write(name: str, header: str, rows: Iterable[tuple[str, ...]]) -> None:
    """One CSV file, sorted."""
    with (HERE / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split(","))
        writer.writerows(sorted(set(rows)))


if __name__ == "__main__":
    source = Path(sys.argv[1])
    write("parameters.csv", "type,code,kind,path,targets", chain(parameters(source), OURS))
    write("compartments.csv", "compartment,type,parameters", compartments(source))
