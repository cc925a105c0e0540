"""What a decision may look at in a resource: its facets, taken once, small enough to keep beside the stored body."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import lru_cache
from itertools import count
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import orjson

from gateway.consent.codes import KNOWN_LABEL_SYSTEMS, RANKED, key_of, keys_of
from gateway.consent.times import span_of
from gateway.kernel.fhir import JsonObject, Resource, references_in

RESOURCE_TYPES: Final = "http://hl7.org/fhir/resource-types"
MEDIA_TYPES: Final = "urn:ietf:bcp:13"

# the element that says what a resource is about; "content codes" of provision.code look here (R4 Consent, content)
_CODES: Final[dict[str, tuple[str, ...]]] = {
    "AllergyIntolerance": ("code",), "Appointment": ("serviceType", "appointmentType"), "Basic": ("code",),
    "CarePlan": ("category",), "CareTeam": ("category",), "Claim": ("type",), "ClinicalImpression": ("code",),
    "Communication": ("category",), "CommunicationRequest": ("category",), "Composition": ("type",),
    "Condition": ("code",), "Consent": ("category",), "Coverage": ("type",), "Device": ("type",),
    "DeviceRequest": ("codeCodeableConcept",), "DiagnosticReport": ("code",), "DocumentManifest": ("type",),
    "DocumentReference": ("type",), "Encounter": ("type",), "EpisodeOfCare": ("type",),
    "ExplanationOfBenefit": ("type",), "FamilyMemberHistory": ("condition.code",), "Flag": ("code",),
    "Goal": ("description",), "HealthcareService": ("type",), "ImagingStudy": ("procedureCode",),
    "Immunization": ("vaccineCode",), "List": ("code",), "Media": ("type",), "Medication": ("code",),
    "MedicationAdministration": ("medicationCodeableConcept",), "MedicationDispense": ("medicationCodeableConcept",),
    "MedicationRequest": ("medicationCodeableConcept",), "MedicationStatement": ("medicationCodeableConcept",),
    "NutritionOrder": ("oralDiet.type",), "Observation": ("code",), "Procedure": ("code",),
    "RiskAssessment": ("code",), "ServiceRequest": ("code",), "Specimen": ("type",), "Substance": ("code",),
    "SupplyRequest": ("itemCodeableConcept",), "Task": ("code",),
}  # fmt: skip
# elements of the clinical time, best first; a start and an end element are joined by ".."
_TIMES: Final[dict[str, tuple[str, ...]]] = {
    "AllergyIntolerance": ("onsetDateTime", "onsetPeriod", "recordedDate"), "Appointment": ("start..end",),
    "CarePlan": ("period", "created"), "CareTeam": ("period",), "Claim": ("billablePeriod", "created"),
    "ClinicalImpression": ("effectiveDateTime", "effectivePeriod", "date"), "Communication": ("sent", "received"),
    "CommunicationRequest": ("occurrenceDateTime", "occurrencePeriod", "authoredOn"), "Composition": ("date",),
    "Condition": ("onsetDateTime..abatementDateTime", "onsetPeriod", "recordedDate"), "Consent": ("dateTime",),
    "Coverage": ("period",), "DeviceRequest": ("occurrenceDateTime", "occurrencePeriod", "authoredOn"),
    "DiagnosticReport": ("effectiveDateTime", "effectivePeriod", "issued"), "DocumentManifest": ("created",),
    "DocumentReference": ("context.period", "date"), "Encounter": ("period",), "EpisodeOfCare": ("period",),
    "ExplanationOfBenefit": ("billablePeriod", "created"), "FamilyMemberHistory": ("date",), "Flag": ("period",),
    "Goal": ("startDate", "statusDate"), "ImagingStudy": ("started",),
    "Immunization": ("occurrenceDateTime", "recorded"), "List": ("date",), "Media": ("createdDateTime",
    "createdPeriod", "issued"), "MedicationAdministration": ("effectiveDateTime", "effectivePeriod"),
    "MedicationDispense": ("whenHandedOver", "whenPrepared"), "MedicationRequest": ("authoredOn",),
    "MedicationStatement": ("effectiveDateTime", "effectivePeriod", "dateAsserted"),
    "Observation": ("effectiveDateTime", "effectivePeriod", "effectiveInstant", "issued"),
    "Procedure": ("performedDateTime", "performedPeriod"), "QuestionnaireResponse": ("authored",),
    "RiskAssessment": ("occurrenceDateTime", "occurrencePeriod"),
    "ServiceRequest": ("occurrenceDateTime", "occurrencePeriod", "authoredOn"),
    "Specimen": ("collection.collectedDateTime", "collection.collectedPeriod", "receivedTime"),
    "SupplyRequest": ("occurrenceDateTime", "occurrencePeriod", "authoredOn"),
    "Task": ("executionPeriod", "authoredOn", "lastModified"), "Provenance": ("occurredDateTime", "occurredPeriod",
    "recorded"), "AuditEvent": ("period", "recorded"),
}  # fmt: skip
_NONE: Final[frozenset[str]] = frozenset()
_AUTHORS: Final = (
    "author", "performer", "asserter", "recorder", "requester", "informationSource", "sender", "enterer", "creator",
    "agent", "authenticator",
)  # fmt: skip
_MAKERS: Final = (
    "managingOrganization",
    "custodian",
    "serviceProvider",
    "organization",
    "requester",
    "author",
    "sender",
)
_AUTHOR_ELEMENTS: Final = frozenset(_AUTHORS)
_MAKER_ELEMENTS: Final = frozenset({*_MAKERS, "performer"})


@dataclass(slots=True)
class ResourceView:
    """The facets of one resource; codings are ``system|code``, references literal, times microseconds since 1970 UTC.

    ``codes`` is None when the code element is there but holds no coding (text only): then no rule can tell.
    ``interval`` is None for an undated resource; either end of it may be None (open). ``labelled`` says whether the
    labels were computed at all; ``confidential`` whether a Confidentiality is among them, ``rank`` its high-water mark.
    ``makers`` are the organizations that made the record and so see it. Not to be changed once made.

    A view from :func:`unpack` reads its own part (reference, interval, references, authors, source, tags) only when
    something asks for it.
    """

    reference: str
    type: str
    classes: frozenset[str] = frozenset()
    codes: frozenset[str] | None = frozenset()
    labels: frozenset[str] = frozenset()
    labelled: bool = False
    confidential: bool = False
    interval: tuple[int | None, int | None] | None = None
    refers: frozenset[str] = frozenset()
    authors: frozenset[str] = frozenset()
    source: str = ""
    tags: frozenset[str] = frozenset()
    patients: tuple[str, ...] = field(default=(), repr=False)
    rank: int = -1
    makers: frozenset[str] = frozenset()
    kind: int = field(default=0, compare=False)  # the same number for views alike in labels and classes
    coded: int = field(default=0, compare=False)  # and in codes too
    _own: bytes = field(default=b"", compare=False, repr=False)

    def __post_init__(self) -> None:
        self.kind, self.coded = _kinds(self.labels, self.labelled, self.confidential, self.classes, self.codes)

    def __getattr__(self, name: str) -> Any:
        """Read the own part on first need: Python comes here when a slot is still empty."""
        if name not in _OWN:
            raise AttributeError(name)
        own = orjson.loads(self._own)
        self.reference = own[0]
        self.interval = None if own[1] is None else (own[1][0], own[1][1])
        self.refers, self.authors, self.source = frozenset(own[2]), frozenset(own[3]), own[4]
        self.tags = frozenset(own[5])
        return object.__getattribute__(self, name)


_OWN: Final = frozenset({"reference", "interval", "refers", "authors", "source", "tags"})
_KINDS: Final[dict[object, int]] = {}
_NUMBERS: Final = count(1)
_KINDS_LIMIT: Final = 200_000


def _number(thing: object) -> int:
    """The same number for equal things, never given twice: a forgotten kind gets a new one."""
    found = _KINDS.get(thing)
    if found is None:
        if len(_KINDS) >= _KINDS_LIMIT:
            _KINDS.clear()
        found = _KINDS[thing] = next(_NUMBERS)
    return found


def _kinds(
    labels: frozenset[str], labelled: bool, confidential: bool, classes: frozenset[str], codes: frozenset[str] | None
) -> tuple[int, int]:
    kind = _number((labels, labelled, confidential, classes))
    return kind, _number((kind, codes))


def view_of(resource: Resource, zone: tzinfo = UTC, literals: Iterable[str] | None = None) -> ResourceView:
    """The facets of a parsed resource; ``zone`` is the civil zone in which its dates without a zone are meant.

    Args:
        literals: the resource's references (gateway.kernel.fhir), when they are at hand.
    """
    type_ = str(resource.get("resourceType", ""))
    meta = resource.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    labels, labelled, confidential, rank = _labels(meta.get("security"))
    id_ = resource.get("id")
    own = f"{type_}/{id_}" if isinstance(id_, str) else type_
    refers = frozenset(local(literal) for literal in (references_in(resource) if literals is None else literals))
    return ResourceView(
        reference=own,
        type=type_,
        classes=_classes(resource, type_, meta),
        codes=_codes(resource, type_),
        labels=labels,
        labelled=labelled,
        confidential=confidential,
        interval=_interval(resource, type_, zone),
        refers=refers,
        authors=_NONE if _AUTHOR_ELEMENTS.isdisjoint(resource) else frozenset(_authors(resource)),
        source=str(meta.get("source", "")),
        tags=frozenset(keys_of(meta["tag"])) if "tag" in meta else _NONE,
        patients=_patients(type_, own, refers, resource),
        rank=rank,
        makers=_NONE if _MAKER_ELEMENTS.isdisjoint(resource) else frozenset(_makers(resource, type_)),
    )


_Labels: TypeAlias = tuple[frozenset[str], bool, bool, int]  # keys, whether computed, whether ranked, rank
_LABELS: Final[dict[bytes, _Labels]] = {}  # the labels of many resources are the same
_CODES_OF: Final[dict[tuple[str, bytes], frozenset[str] | None]] = {}  # and their codes
_UNREAD: Final[frozenset[str]] = frozenset({""})  # stands for what is not remembered; no key is empty
_REMEMBERED: Final = 8_192
_REMEMBERED_SIZE: Final = 2_000  # bytes


def _labels(security: Any) -> _Labels:
    try:
        text = orjson.dumps(security)
    except TypeError:  # decimals that keep their digits
        return _read_labels(security)
    found = _LABELS.get(text)
    if found is None:
        found = _read_labels(security)
        if len(text) <= _REMEMBERED_SIZE:
            if len(_LABELS) >= _REMEMBERED:
                _LABELS.clear()
            _LABELS[text] = found
    return found


def _read_labels(security: Any) -> _Labels:
    labels = frozenset(keys_of(security))
    systems = {label.rpartition("|")[0] for label in labels}
    confidential = any(label in RANKED for label in labels)
    return labels, not systems.isdisjoint(KNOWN_LABEL_SYSTEMS), confidential, rank_of(labels)


_PACKED: Final = b"1"  # the shape of packed facets; another one is not read
_SHARED: Final[dict[bytes, tuple[Any, ...]]] = {}  # parts that many resources have in common, by their exact text


def pack(view: ResourceView) -> bytes:
    """The facets as three JSON lines, to be kept beside the body; :func:`unpack` reads them.

    What a resource is (shared by many), whom it is about (shared by one person's), and what is its own.
    """
    kind = _kind_text(
        view.type, view.classes, view.codes, view.labels, view.labelled, view.confidential, view.rank
    )  # fmt: skip
    own = [
        view.reference, view.interval, sorted(view.refers), sorted(view.authors), view.source, sorted(view.tags),
    ]  # fmt: skip
    return b"\n".join((_PACKED, kind, _about_text(view.patients, view.makers), orjson.dumps(own)))


@lru_cache(maxsize=8_192)  # many resources are of one kind
def _kind_text(
    type_: str, classes: frozenset[str], codes: frozenset[str] | None, labels: frozenset[str], *rest: object
) -> bytes:
    return orjson.dumps([type_, sorted(classes), None if codes is None else sorted(codes), sorted(labels), *rest])


@lru_cache(maxsize=1_024)  # the resources of one person come together
def _about_text(patients: tuple[str, ...], makers: frozenset[str]) -> bytes:
    return orjson.dumps([patients, sorted(makers)])


def unpack(facets: bytes) -> ResourceView | None:
    """The view that :func:`pack` wrote; None when another release wrote it in another shape."""
    parts = facets.split(b"\n")
    if len(parts) not in (4, 5) or parts[0] != _PACKED:  # the fifth is the outline of a Consent (outline.py)
        return None
    kind = _SHARED.get(parts[1]) or _share(parts[1], _read_kind)
    about = _SHARED.get(parts[2]) or _share(parts[2], _read_about)
    view = _new(ResourceView)
    (
        view.type, view.classes, view.codes, view.labels, view.labelled, view.confidential, view.rank, view.kind,
        view.coded,
    ) = kind  # fmt: skip
    view.patients, view.makers = about
    view._own = parts[3]
    return view


def patients_in(facets: bytes) -> tuple[str, ...]:
    """The patients of packed facets, without reading the rest of them; none in what another release wrote."""
    parts = facets.split(b"\n", 3)
    if len(parts) != 4 or parts[0] != _PACKED:
        return ()
    about = _SHARED.get(parts[2]) or _share(parts[2], _read_about)
    patients: tuple[str, ...] = about[0]
    return patients


_new: Final = ResourceView.__new__


def _share(text: bytes, read: Callable[[bytes], tuple[Any, ...]]) -> tuple[Any, ...]:
    if len(_SHARED) >= _KINDS_LIMIT:
        _SHARED.clear()
    found = _SHARED[text] = read(text)
    return found


def _read_kind(text: bytes) -> tuple[Any, ...]:
    type_, classes, codes, labels, labelled, confidential, rank = orjson.loads(text)
    held = frozenset(classes), None if codes is None else frozenset(codes), frozenset(labels)
    return (type_, *held, labelled, confidential, rank, *_kinds(held[2], labelled, confidential, held[0], held[1]))


def _read_about(text: bytes) -> tuple[Any, ...]:
    patients, makers = orjson.loads(text)
    return tuple(patients), frozenset(makers)


def local(literal: str) -> str:
    """``Type/id`` of a literal reference: server address and version taken off."""
    plain = literal.split("/_history/")[0].strip()
    if "://" in plain:
        parts = plain.split("/")
        if len(parts) >= 5 and parts[-2][:1].isupper():
            return f"{parts[-2]}/{parts[-1]}"
    return plain


def references_to_patients(resource: Resource) -> frozenset[str]:
    """``Patient/id`` of every patient that a resource refers to; of a Patient: its links."""
    return frozenset(one for one in map(local, references_in(resource)) if one.startswith("Patient/"))


def rank_of(labels: Iterable[str]) -> int:
    """The high-water mark of Confidentiality among ``system|code`` labels; -1 without one."""
    return max((RANKED[label] for label in labels if label in RANKED), default=-1)


def _patients(type_: str, own: str, refers: frozenset[str], resource: Resource) -> tuple[str, ...]:
    """Every patient that a resource names: each of them must permit (a Patient is about itself only).

    Among them :data:`STRANGER` for one who is named by an identifier, in words or by a contained record only.
    """
    if type_ == "Patient":
        return (own,)
    named = sorted(r for r in refers if r.startswith("Patient/"))
    return (STRANGER, *named) if _may_name_strangers(resource) and people_without_reference(resource) else tuple(named)


def _may_name_strangers(resource: Resource) -> bool:
    """Whether it is worth looking for them: what nearly every resource is not."""
    for element in _PERSON_AT:
        if element in resource and not _literal_only(resource[element]):
            return True
    try:
        text = orjson.dumps(resource)
    except TypeError:  # decimals that keep their digits
        return True
    return b'"type":"Patient"' in text


def _literal_only(node: Any) -> bool:
    literal = node.get("reference") if isinstance(node, dict) else None
    return isinstance(literal, str) and _LITERAL.fullmatch(literal) is not None


STRANGER: Final = "?"  # among the patients of a view: somebody of whom the record alone does not tell who it is
_PERSON_AT: Final = ("subject", "patient", "beneficiary", "for")  # elements that name whose record it is
_LITERAL: Final = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64}")
_ASKING: Final = re.compile(r"Patient\?(?:.*&)?identifier=([^&]+)")  # a conditional reference


def people_without_reference(resource: Resource) -> list[frozenset[str]]:
    """For each patient whom a resource names otherwise than by ``Type/id``: the identifiers (``system|value``) given.

    Empty identifiers: it names somebody of whom nobody can tell who it is.
    """
    held = resource.get("contained")
    inside = {f"#{c.get('id')}": c for c in (held if isinstance(held, list) else ()) if isinstance(c, dict)}
    found: list[frozenset[str]] = []
    for element, node in resource.items():
        for one in _references(node, element in _PERSON_AT):
            literal = one.get("reference")
            literal = local(literal) if isinstance(literal, str) else ""
            target = inside.get(literal, {})
            if _LITERAL.fullmatch(literal) or target.get("resourceType", "Patient") != "Patient":
                continue
            asking = _ASKING.fullmatch(literal)
            keys = {*_identified(one.get("identifier")), *_identified(target.get("identifier"))}
            found.append(frozenset(keys | ({unquote(asking[1])} if asking else set())))
    return found


def groups_of(resource: Resource) -> list[str]:
    """``Group/id`` of every group of people that a resource is about."""
    nodes = [resource.get(element) for element in _PERSON_AT]
    found = [one for node in nodes for one in (node if isinstance(node, list) else [node]) if isinstance(one, dict)]
    literals = (local(one["reference"]) for one in found if isinstance(one.get("reference"), str))
    return [one for one in literals if one.startswith("Group/")]


def members_of(group: Resource) -> list[JsonObject]:
    """The references to the members of a Group; an empty one where a member, or all of them, cannot be told."""
    members = group.get("member")
    found = (
        [one.get("entity") if isinstance(one, dict) else None for one in members] if isinstance(members, list) else []
    )
    return [one if isinstance(one, dict) else {} for one in found] or [{}]


def _references(node: Any, personal: bool) -> Iterator[JsonObject]:
    """The references of an element that are meant for a patient: all of a ``personal`` one, else those that say so."""
    for one in node if isinstance(node, list) else [node]:
        if not isinstance(one, dict):
            continue
        kind = one.get("type")
        if kind == "Patient" or (personal and kind is None):
            yield one
        else:
            for inner in one.values():
                yield from _references(inner, False)


def _identified(node: Any) -> Iterator[str]:
    for one in node if isinstance(node, list) else [node]:
        if isinstance(one, dict) and isinstance(one.get("value"), str):
            yield f"{one.get('system', '')}|{one['value']}"


def _makers(resource: Resource, type_: str) -> Iterator[str]:
    """Organizations that a record says made it: a receiver (performer, owner of a Task) is none of them."""
    elements = _MAKERS + (("performer",) if type_ in ("Observation", "DiagnosticReport", "Procedure") else ())
    for element in elements:
        for node in _at(resource, element) if element in resource else ():
            literal = node.get("reference") if isinstance(node, dict) else None
            if isinstance(literal, str) and local(literal).startswith("Organization/"):
                yield local(literal)


def _at(node: Any, path: str) -> Iterator[Any]:
    """Every value at a dotted path, lists opened."""
    head, _, rest = path.partition(".")
    value = node.get(head) if isinstance(node, dict) else None
    for item in value if isinstance(value, list) else [value]:
        if item is None:
            continue
        if rest:
            yield from _at(item, rest)
        else:
            yield item


def _classes(resource: Resource, type_: str, meta: JsonObject) -> frozenset[str]:
    profiles = meta.get("profile")
    claimed = tuple(one for one in profiles if isinstance(one, str)) if isinstance(profiles, list) else ()
    plain = _plain_classes(type_, claimed)
    if type_ in _DOCUMENTS or "content" in resource or "contentType" in resource:
        return plain.union(_document_classes(resource, type_))
    return plain


@lru_cache(maxsize=4_096)
def _plain_classes(type_: str, profiles: tuple[str, ...]) -> frozenset[str]:
    return frozenset({f"{RESOURCE_TYPES}|{type_}", *(profile.split("|")[0] for profile in profiles)})


_DOCUMENTS: Final = ("DocumentReference", "Composition", "DocumentManifest")


def _document_classes(resource: Resource, type_: str) -> Iterator[str]:
    if type_ in _DOCUMENTS:
        for concept in (*_at(resource, "type"), *_at(resource, "category")):
            yield from keys_of(concept)
    for path in ("content.attachment.contentType", "contentType", "content.contentType"):
        for media in _at(resource, path):
            if isinstance(media, str):
                yield f"{MEDIA_TYPES}|{media.split(';')[0].strip().lower()}"
    for form in _at(resource, "content.format"):
        if isinstance(form, dict):
            yield from (key for key in (key_of(form),) if key)


def _codes(resource: Resource, type_: str) -> frozenset[str] | None:
    """The keys of the element that says what it is about; None when nobody can tell."""
    paths = _CODES.get(type_, ())
    if len(paths) != 1 or "." in paths[0]:
        return _read_codes(resource, type_)
    try:
        key = type_, orjson.dumps(resource.get(paths[0]))
    except TypeError:  # decimals that keep their digits
        return _read_codes(resource, type_)
    if "medicationReference" in resource:
        return _read_codes(resource, type_)
    found = _CODES_OF.get(key, _UNREAD)
    if found is _UNREAD:
        found = _read_codes(resource, type_)
        if len(key[1]) <= _REMEMBERED_SIZE:
            if len(_CODES_OF) >= _REMEMBERED:
                _CODES_OF.clear()
            _CODES_OF[key] = found
    return found


def _read_codes(resource: Resource, type_: str) -> frozenset[str] | None:
    found: set[str] = set()
    concepts = [concept for path in _CODES.get(type_, ()) for concept in _at(resource, path)]
    held = resource.get("contained")
    contained = {f"#{c.get('id')}": c for c in (held if isinstance(held, list) else ()) if isinstance(c, dict)}
    reference = resource.get("medicationReference")
    if isinstance(reference, dict):
        medication = contained.get(str(reference.get("reference")))
        if medication is None:
            return None  # the code stands in another resource, which is not at hand
        concepts.append(medication.get("code"))
    for concept in concepts:
        codings = set(keys_of(concept))
        if not codings:
            return None  # text only: nobody can say that a code is absent
        found |= codings
    return frozenset(found)


def _interval(resource: Resource, type_: str, zone: tzinfo) -> tuple[int | None, int | None] | None:
    for choice in _TIMES.get(type_, ()):
        first, _, last = choice.partition("..")
        for value in _at(resource, first):
            if isinstance(value, dict):
                found = span_of(value.get("start"), value.get("end"), zone)
            else:
                end = next(_at(resource, last), None) if last else value
                found = span_of(value, value if end is None else end, zone)
            if found is not None:
                return found
    return None


def _authors(resource: Resource) -> Iterator[str]:
    for element in _AUTHORS:
        for node in _at(resource, element) if element in resource else ():
            for part in ("", "actor", "who", "onBehalfOf"):
                inner = node.get(part) if part and isinstance(node, dict) else node
                literal = inner.get("reference") if isinstance(inner, dict) else None
                if isinstance(literal, str):
                    yield local(literal)
