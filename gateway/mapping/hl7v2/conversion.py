"""What a message becomes: the resources with ids, what they do to stored state, and what no row mapped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import orjson

from gateway.codecs.json_text import Exact
from gateway.kernel.fhir import DOORWAY, JsonObject
from gateway.kernel.identifiers import resource_id
from gateway.mapping.hl7v2.effects import Effect

RESIDUE: Final = f"{DOORWAY}/StructureDefinition/hl7v2-residue"
KIND: Final = f"{DOORWAY}/CodeSystem/basic-kind"
_BASE: Final = f"{DOORWAY}/".encode()
Written: TypeAlias = dict[int, tuple[JsonObject, bytes]]  # id() -> the thing itself, its Bundle entry


@dataclass(frozen=True, slots=True)
class Feed:
    """Where a message comes from, and what is agreed with that sender."""

    site: str = ""  # overlay of mappings/sites
    jurisdiction: str = "us"  # us or ca
    zone: str = "UTC"  # IANA name or +hh:mm: of times that carry no offset, unless MSH-7 carries one
    sender: str = ""  # replaces MSH-3 and MSH-4 as the scope of unscoped numbers


@dataclass(frozen=True, slots=True)
class Left:
    """A populated leaf that no row mapped."""

    place: str  # PID-18.4
    text: str = field(repr=False)  # own text
    reason: str


@dataclass(frozen=True, slots=True)
class Element:
    """Where one element came from (only with ``explain``)."""

    path: str  # Patient/id name[0].family
    source: str  # PID-5.1
    row: str  # mappings/hl7v2/datatypes/FN-HumanName.csv:2
    message_row: str  # mappings/hl7v2/messages/ADT_A01.csv:7


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole set that a segment now has for a patient or a visit; what an earlier one listed and this one does not
    is retired (HL7 v2.5.1 ch. 2.10.4.1)."""

    segment: str  # AL1
    owner: str  # Patient/id or Encounter/id
    patient: str  # Patient/id that the set belongs to
    members: tuple[str, ...]  # Type/id
    element: str  # set on what is no longer listed
    value: Any


@dataclass(frozen=True, slots=True)
class Conversion:
    """What one message says, ready to be stored."""

    kind: str  # ADT
    trigger: str  # A01
    structure: str  # message map that was used
    control_id: str = field(repr=False)
    sender: str
    resources: Sequence[JsonObject] = field(repr=False)  # with ids; dependencies first
    effects: tuple[Effect, ...] = ()
    deletions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # Type/id -> elements the sender deletes
    residue: tuple[Left, ...] = field(default=(), repr=False)
    snapshots: tuple[Snapshot, ...] = ()
    renewed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # Type/id -> lists of which this is the whole
    labels: Mapping[str, tuple[JsonObject, ...]] = field(default_factory=dict)  # Type/id -> labels we vouch for
    reasons: tuple[Element, ...] = field(default=(), repr=False)
    # shared things among the resources, by reference: they are the converter's, and must not be changed in place
    things: Mapping[str, JsonObject] = field(default_factory=dict, repr=False, compare=False)
    written: Written = field(default_factory=dict, repr=False, compare=False)  # entries of things of this sender

    @property
    def event(self) -> str:
        """``ADT^A01``."""
        return f"{self.kind}^{self.trigger}"

    def bundle(self) -> JsonObject:
        """A transaction Bundle (R4) of PUTs: run twice, it leaves the same state."""
        return {**self.head(), "entry": [_entry(r) for r in self.resources]}

    def bundle_bytes(self) -> bytes:
        """The Bundle as UTF-8 JSON, decimals with their digits; entries of remembered things are written once."""
        bundle: bytes | None = getattr(self.resources, "bundle", None)
        if bundle is not None:
            return bundle  # of a template: it was written already
        written, things = self.written, self.things
        out: list[bytes] = []
        for r in self.resources:
            there = written.get(id(r))
            if there is not None and there[0] is r:
                out.append(there[1])
                continue
            reference = f"{r['resourceType']}/{r['id']}"
            made = entry_bytes(r)
            if things.get(reference) is r:
                written[id(r)] = (r, made)
            out.append(made)
        head = orjson.dumps(self.head())
        return b'%b,"entry":[%b]}' % (head[:-1], b",".join(out))

    def head(self) -> JsonObject:
        """The Bundle without its entries."""
        return {
            "resourceType": "Bundle",
            "id": resource_id("Bundle", self.sender, self.control_id),
            "type": "transaction",
        }


def entry_bytes(resource: JsonObject) -> bytes:
    """The Bundle entry of a resource as JSON."""
    reference = f"{resource['resourceType']}/{resource['id']}".encode()
    return b'{"fullUrl":"%b%b","resource":%b,"request":{"method":"PUT","url":"%b"}}' % (
        _BASE, reference, orjson.dumps(resource, default=_exact), reference,
    )  # fmt: skip


def _entry(resource: JsonObject) -> JsonObject:
    reference = f"{resource['resourceType']}/{resource['id']}"
    return {
        "fullUrl": f"{DOORWAY}/{reference}",
        "resource": resource,
        "request": {"method": "PUT", "url": reference},
    }


def _exact(value: Any) -> Any:
    if isinstance(value, Exact):
        return orjson.Fragment(value.text)
    raise TypeError(type(value).__name__)
