"""The tables of the HL7 v2 bridge as values, checked; every row remembers its file and line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gateway.mapping.hl7v2.conditions import Condition

PRIMITIVES: Final = frozenset(
    [
        "string",
        "markdown",
        "code",
        "uri",
        "url",
        "canonical",
        "oid",
        "uuid",
        "id",
        "date",
        "dateTime",
        "instant",
        "time",
        "decimal",
        "integer",
        "positiveInt",
        "unsignedInt",
        "boolean",
        "base64Binary",
    ]
)
SPECIAL_TARGETS: Final = ("$this", "$value")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a FHIR path: an element, which of its instances, and the resource that its reference leads to."""

    name: str
    repeats: bool
    instance: int = 1  # [n] of the guide: the same number is the same instance, another number another one
    refers: str = ""  # resource type in parentheses: create it and refer to it
    primitive: bool = False
    written: bool = True  # [n] stands in the table; without it the instance that is there already is meant

    @property
    def label(self) -> str:
        """As it is written in a table."""
        return f"{self.name}[{self.instance}]" if self.repeats else self.name


@dataclass(frozen=True, slots=True)
class Source:
    """Where a row reads: field, component, subcomponent (0 when the whole); ``whole`` reads all repetitions at once."""

    field: int = 0
    component: int = 0
    subcomponent: int = 0
    whole: bool = False


Assignment: TypeAlias = tuple[tuple[str, str], ...]  # ('text', literal) and ('ref', path) to concatenate


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a segment or data type map."""

    place: str  # file:line
    number: str  # row (sort order) of the guide's table
    source: Source
    condition: Condition | None
    steps: tuple[Step, ...]
    special: str  # "$this" or "$value" when the target is no element
    extension: str  # URL; url#part is a part of a complex extension, url##part joins all repetitions in one extension
    type: str  # FHIR type of the value
    datatype: str  # data type map: CX[Identifier]
    vocabulary: str
    assignment: Assignment | None
    target: str  # as written
    note: str = ""  # why the row is as it is

    @property
    def constant(self) -> bool:
        """Whether the value comes from the table and not from the message."""
        return self.assignment is not None and all(kind == "text" for kind, _ in self.assignment)


@dataclass(frozen=True, slots=True)
class Map:
    """A segment map (``PID[Patient]``) or data type map (``CX[Identifier]``)."""

    name: str
    file: str
    source: str  # PID, CX
    result: str  # Patient, Identifier
    rows: tuple[Row, ...]
    returns_value: bool = False  # a data type map whose result is a primitive ($value)


@dataclass(frozen=True, slots=True)
class Link:
    """One reference of a message row: ``owner.path = target``; owner "" is the row's own resource, target "$" too."""

    owner: str
    steps: tuple[Step, ...]
    target: str


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One row of a message map: what a segment at this position makes."""

    place: str
    number: str
    groups: tuple[str, ...]
    segment: str
    least: int
    repeats: bool
    condition: Condition | None
    resource: str  # Patient[1], or AllergyIntolerance: a new one for each segment
    map: str
    links: tuple[Link, ...]
    note: str = ""  # a row without map and with a note: the segment is deliberately not mapped


@dataclass(frozen=True, slots=True)
class MessageMap:
    """A message structure: rows in the order of the standard."""

    structure: str
    file: str
    rows: tuple[MessageRow, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """The target of a vocabulary row."""

    code: str
    system: str
    display: str


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """One concept map of terminology/v2."""

    name: str
    source_system: str
    codes: Mapping[str, Code | None]  # None: looked at, no equivalent
    fallback: Code | None = None


@dataclass(frozen=True, slots=True)
class Trigger:
    """One row of triggers.csv: what an event means for the visit and for identity."""

    place: str
    event: str  # ADT^A01, or SIU^S15
    structure: str  # message map to use; "" is what the standard says
    status: str  # Encounter status it sets; "keep" leaves it; "" has no visit
    cancels: tuple[str, ...]  # events that it takes back
    effect: str  # upsert, merge-patient, move-visit, link ...
    note: str


@dataclass(frozen=True, slots=True)
class Identity:
    """One row of identities.csv: a way to compute the id of a resource; the first whose parts are all there wins."""

    place: str
    resource: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Required:
    """One row of required.csv: what R4 demands and a message may leave out."""

    place: str
    resource: str
    element: str
    value: object  # JSON to fill in; None drops the resource and leaves its source in the residue
    steps: tuple[str, ...] = ()  # of element


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One row of actions.csv: an action code that takes an item out of a list."""

    segment: str
    action: int  # field of the code
    codes: tuple[str, ...]
    resource: str
    element: str  # the list
    key: str  # path inside an item
    field: int  # where the segment says which item
    component: int


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """One row of snapshots.csv: a segment that repeats and whose set replaces the one before."""

    place: str
    segment: str
    resource: str  # what the segment makes; the owner itself when the segment fills one of its lists
    owner: str  # Patient or Encounter: whose set it is
    element: str  # set on what is no longer listed; or the owner's list
    value: object  # JSON
    action: int  # field with an action code: where one is sent, the segments patch and nothing is replaced; 0 none


@dataclass(frozen=True, slots=True)
class Tables:
    """Everything that a converter runs on."""

    messages: Mapping[str, MessageMap]
    segments: Mapping[str, Map]
    datatypes: Mapping[str, Map]
    vocabularies: Mapping[str, Vocabulary]
    triggers: Mapping[str, Trigger]
    identities: Mapping[str, tuple[Identity, ...]]
    required: Mapping[str, tuple[Required, ...]]
    ignored: Mapping[str, tuple[str, str]]  # source (PID-1, CX.9, DSC) -> (place, reason)
    authorities: Mapping[str, str]  # namespace or universal id -> identifier system
    code_systems: Mapping[str, str]  # table 0396 name -> URI
    updates: Mapping[str, str]  # Patient.name -> key by which list items are matched
    elements: Mapping[str, tuple[str, bool]]  # Patient.name -> (type, repeats)
    snapshots: tuple[SnapshotRow, ...] = ()
    actions: Mapping[str, tuple[ActionRow, ...]] = field(default_factory=dict)  # by segment
    order: tuple[str, ...] = field(default=())  # resource types in the order of identities.csv: dependencies first
