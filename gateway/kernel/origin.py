"""Where a value came from, so that any FHIR element leads back to its bytes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """The place in a source that made a resource or an element.

    ``source`` is the feed or export (``hospital-a``, an ImplementationID), ``place`` the row or field
    (``Client.csv:12 DOB``, ``PID-5``), ``rule`` the mapping row (``mappings/hl7v2/segments/PID-Patient.csv:6``).
    """

    source: str
    place: str
    rule: str = ""
