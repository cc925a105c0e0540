"""Which organization a message means: one that takes part here already, where the sender names it so.

Converted alone, every name and number makes an organization of the message's own. A referral to a housing project would
then be addressed to a double of its agency, and neither its HMIS nor its workers would ever be told. So before it is
stored, an organization of a message becomes the one that is meant: by what is agreed with the sender (his names and
numbers for others, ``parties`` of the feed), or by the number that an HMIS gave to one of its own (OrganizationID,
ProjectID), whose id follows from it: nobody else can claim that number. A name alone, and a number that somebody has
given to himself, prove nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import unquote

from gateway.exchange.parties import reference_of
from gateway.exchange.ports.resources import parsed
from gateway.exchange.ports.store import Unit
from gateway.kernel.fhir import DOORWAY, Resource
from gateway.mapping.hl7v2.conversion import Conversion
from gateway.mapping.hmis.conversions import Source

_OF_HMIS: Final = re.compile(rf"{re.escape(DOORWAY)}/hmis/([^/]+)/(Organization|Project)ID")
_KINDS: Final = {"Organization": "Organization", "Project": "HealthcareService"}
_MAY_BE_SERVICE: Final = frozenset({("Task", "owner"), ("ServiceRequest", "performer")})  # FHIR R4 reference targets


@dataclass(frozen=True, slots=True)
class Directory:
    """What is agreed with each sender.

    Args:
        parties: by sender, his name or number of an organization (in folded case) to the ``Organization/id`` or
            ``HealthcareService/id`` that he means.
    """

    parties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def resolve(self, unit: Unit, conversion: Conversion, *, sender: str) -> Conversion:
        """The conversion with those who are meant in place of the sender's organizations; the same when there are none.

        Args:
            sender: ``MSH-3^MSH-4``, or the name of the feed of a listener.
        """
        agreed = self.parties.get(sender, {})
        meant: dict[str, _Meant] = {}
        for said in conversion.resources:
            if said["resourceType"] == "Organization":
                found = self._meant(unit, said, agreed)
                if found is not None and found.reference != f"Organization/{said['id']}":
                    meant[f"Organization/{said['id']}"] = found
        return _placed(conversion, meant) if meant else conversion

    def _meant(self, unit: Unit, said: Resource, agreed: Mapping[str, str]) -> "_Meant | None":
        numbers = [(str(one.get("system", "")), str(one.get("value", ""))) for one in said.get("identifier", ())]
        for text in (*(value for _, value in numbers), said.get("name", ""), *said.get("alias", ())):
            reference = agreed.get(text.strip().casefold(), "")
            if reference and (found := _standing(unit, reference, agreed=True)):
                return found
        for system, value in numbers:
            named = _OF_HMIS.fullmatch(system)
            if named is not None:
                source, file = Source(unquote(named[1])), named[2]
                found = _standing(unit, f"{_KINDS[file]}/{source.id(file, value)}", agreed=False)
                if found is not None:
                    return found
        return None


@dataclass(frozen=True, slots=True)
class _Meant:
    """Who is meant, and the organization of a service, for where R4 allows no HealthcareService."""

    reference: str
    organization: str


def _standing(unit: Unit, reference: str, *, agreed: bool) -> _Meant | None:
    """None: it is not here. An organization that is agreed upon counts without a record: registrations need none."""
    type_, _, id_ = reference.partition("/")
    if agreed and type_ == "Organization":
        return _Meant(reference, reference)
    stored = unit.resources.get(type_, id_)
    if stored is None or stored.deleted:
        return None
    organization = reference if type_ == "Organization" else reference_of(parsed(stored).get("providedBy"))
    return _Meant(reference, organization) if organization else None


def _placed(conversion: Conversion, meant: Mapping[str, _Meant]) -> Conversion:
    """The sender's organizations taken out, and what refers to them turned to those who are meant."""
    kept = [
        _turned(said, said["resourceType"], "", meant)
        for said in conversion.resources
        if f"{said['resourceType']}/{said['id']}" not in meant
    ]
    return replace(
        conversion,
        resources=tuple(kept),
        deletions={name: elements for name, elements in conversion.deletions.items() if name not in meant},
        renewed={name: elements for name, elements in conversion.renewed.items() if name not in meant},
    )


def _turned(node: Any, type_: str, element: str, meant: Mapping[str, _Meant]) -> Any:
    """The same with other references; the argument stays as it is."""
    if isinstance(node, list):
        return [_turned(item, type_, element, meant) for item in node]
    if not isinstance(node, dict):
        return node
    target = meant.get(str(node.get("reference", "")))
    if target is not None:
        service = (type_, element) in _MAY_BE_SERVICE
        return {**node, "reference": target.reference if service else target.organization}
    out = {name: _turned(value, type_, element or name, meant) for name, value in node.items()}
    if type_ == "PractitionerRole" and not element:
        role = meant.get(reference_of(node.get("organization")))
        if role is not None and role.reference != role.organization:
            out["healthcareService"] = [*out.get("healthcareService", ()), {"reference": role.reference}]
    return out
