"""Who may be compared at all: a link is a disclosure, so law and the person's word come before comparison."""

from collections.abc import Iterable
from typing import Any, Final

from gateway.consent.labels import security_of
from gateway.exchange.ports.resources import ResourceReader, parsed
from gateway.kernel.fhir import DOORWAY, JsonObject, Resource

VICTIM_SERVICE: Final = (f"{DOORWAY}/CodeSystem/handling", "VSP")  # terminology/sensitivity: victim service provider
NO_LINK: Final = (f"{DOORWAY}/CodeSystem/handling", "NOLINK")  # set by hand: this record is never compared
_SPEAKING: Final = frozenset({"active", "rejected"})


def may_be_compared(patient: Resource, resources: ResourceReader) -> bool:
    """Whether a record may enter matching with other custodians' data, in clear or hashed.

    Not the record of a victim service provider (34 USC 12291(b)(2): hashing does not exempt), not one of a person who
    declined: an active Consent that denies as a whole and permits nothing, or a refusal with no active consent beside.
    """
    labels = {(str(one.get("system", "")), str(one.get("code", ""))) for one in security_of(patient)}
    if labels & {VICTIM_SERVICE, NO_LINK}:
        return False
    return not declined(
        parsed(stored) for stored in resources.consents((f"Patient/{patient['id']}",)) if not stored.deleted
    )


def declined(consents: Iterable[JsonObject]) -> bool:
    """Whether what a person signed amounts to a refusal."""
    speaking = [c for c in consents if c.get("status") in _SPEAKING]
    active = [c for c in speaking if c["status"] == "active"]
    if any(_denies_all(consent) for consent in active):
        return True
    return bool(speaking) and not active


def _denies_all(consent: JsonObject) -> bool:
    """A root that denies and nothing below that permits; conditions on the root narrow it, so then it is no refusal."""
    root = consent.get("provision")
    if not isinstance(root, dict) or root.get("type") != "deny":
        return False
    narrowed = set(root) - {"type", "provision", "id", "extension", "period"}
    return not narrowed and not _permits(root)


def _permits(node: Any) -> bool:
    inner = node.get("provision", ())
    return any(one.get("type") == "permit" or _permits(one) for one in inner if isinstance(one, dict))
