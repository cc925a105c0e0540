"""Doorway's own extensions as StructureDefinitions, from tables: profiles/doorway/extensions.csv for HMIS, consent and
exchange, and the mapping tables of HL7 v2, which name an extension with its type wherever v2 says more than R4."""

import csv
import re
from collections.abc import Iterable, Mapping
from typing import Final

from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import DOORWAY, JsonObject

BASE: Final = f"{DOORWAY}/StructureDefinition/"
_CORE: Final = "http://hl7.org/fhir/StructureDefinition/"
_WORD: Final = re.compile(r"[A-Za-z0-9]+")
_ANY: Final = "Element"


def extensions_of_table(text: str, *, file: str) -> dict[str, JsonObject]:
    """The definitions of extensions.csv by URL: the row without a part states the extension, the others its parts.

    Raises:
        Invalid: a part before its extension, or an extension twice, with file:line.
    """
    found: dict[str, JsonObject] = {}
    reader = csv.DictReader(text.splitlines())
    for row in reader:
        url = BASE + row["name"]
        at = f"{file}:{reader.line_num}"
        types = tuple(row["types"].split())
        if row["part"]:
            if url not in found:
                raise Invalid("a part of an extension that is not stated above it", at=at)
            _add_part(found[url], row, types)
        elif url in found:
            raise Invalid("the extension is stated twice", at=at)
        else:
            contexts = row["context"].split() or [_ANY]
            found[url] = _definition(url, row["name"], contexts, types, row["description"])
    return found


def extensions_of_mapping(rows: Iterable[Mapping[str, str]]) -> dict[str, JsonObject]:
    """The definitions of the extensions that HL7 v2 mapping rows name (columns ``source``, ``extension``, ``type``)."""
    types: dict[str, set[str]] = {}
    sources: dict[str, list[str]] = {}
    for row in rows:
        url = row.get("extension", "")
        if url.startswith(BASE):
            types.setdefault(url, set()).add(row.get("type", "").strip())
            sources.setdefault(url, []).append(row.get("source", ""))
    found = {}
    for url, named in types.items():
        said = ", ".join(dict.fromkeys(source for source in sources[url] if source))
        allowed = () if "" in named else tuple(sorted(named))
        words = f"HL7 v2 {said}, which R4 has no element for"
        found[url] = _definition(url, url.removeprefix(BASE), [_ANY], allowed, words)
    return found


def _definition(url: str, name: str, contexts: list[str], types: tuple[str, ...], words: str) -> JsonObject:
    elements: list[JsonObject] = [
        {"id": "Extension", "path": "Extension", "short": words},
        {"id": "Extension.url", "path": "Extension.url", "fixedUri": url},
    ]
    if types:
        elements.append(_value("Extension", types, 1))
    return {
        "resourceType": "StructureDefinition",
        "url": url,
        "name": "".join(part.capitalize() for part in _WORD.findall(name)),
        "title": words,
        "status": "active",
        "fhirVersion": "4.0.1",
        "kind": "complex-type",
        "abstract": False,
        "context": [{"type": "element", "expression": context} for context in contexts],
        "type": "Extension",
        "baseDefinition": f"{_CORE}Extension",
        "derivation": "constraint",
        "differential": {"element": elements},
    }


def _value(path: str, types: tuple[str, ...], minimum: int) -> JsonObject:
    name = f"{path}.value[x]"
    plain = name.replace(":" + path.rpartition(":")[2], "") if ":" in path else name
    return {"id": name, "path": plain, "min": minimum, "type": [{"code": code} for code in types]}


def _add_part(definition: JsonObject, row: Mapping[str, str], types: tuple[str, ...]) -> None:
    elements = definition["differential"]["element"]
    path = f"Extension.extension:{row['part']}"
    limits = {"min": int(row["minimum"] or 0), "max": row["maximum"] or "*"}
    elements.append(
        {"id": path, "path": "Extension.extension", "sliceName": row["part"], "short": row["description"], **limits}
    )
    elements.append({"id": f"{path}.url", "path": "Extension.extension.url", "fixedUri": row["part"]})
    if types:
        elements.append(_value(path, types, 1))
