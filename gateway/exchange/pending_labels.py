"""Organizations whose flags have changed while what names them is still labelled as before.

A referral that names a shelter for survivors is as sensitive as that is, from the commit on in which the shelter is
known as one. Labelling a large organization's records takes minutes, and no writer is to wait for them: the transaction
of the flag puts the organization on record here, the gate withholds what names it, and a worker labels the records in
small transactions and takes the organization off again. The record is a Contract beside those of agreements
(agreements.py), which the gate reads anyway, so a request pays nothing for it; no door of the API reaches it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import orjson

from gateway.exchange.ports.resources import Draft, ResourceReader, Resources, Stored
from gateway.kernel.fhir import JsonObject
from gateway.kernel.identifiers import resource_id

LABELS: Final = "doorway:labels"  # source of the Contract that counts; no client can have this name
PENDING: Final = f"Contract/{resource_id('labels', 'pending')}"
DIRECTORY: Final = frozenset({"Organization", "Location", "HealthcareService"})  # it names itself


@dataclass(frozen=True, slots=True)
class Pending:
    """``Organization/id`` of those that more is known of than the labels say, and of those of which less is."""

    closed: frozenset[str] = frozenset()  # what names them is withheld
    opened: frozenset[str] = frozenset()

    @property
    def every(self) -> frozenset[str]:
        """All whose records wait to be labelled."""
        return self.closed | self.opened


NOTHING: Final = Pending()


def read_pending(stored: Stored | None) -> Pending:
    """What a stored Contract says; nothing when it is none, or not the gateway's."""
    if stored is None or stored.deleted or stored.source != LABELS:
        return NOTHING
    contract = orjson.loads(stored.body)
    return Pending(_references(contract.get("subject", ())), _references(contract.get("supportingInfo", ())))


def pending(resources: ResourceReader) -> Pending:
    """What waits in a snapshot or transaction."""
    return read_pending(resources.many([PENDING]).get(PENDING))


def pend(resources: Resources, organization: str, *, closes: bool, now_us: int) -> None:
    """Put an organization on record, in the transaction in which its flags change.

    Args:
        closes: it tells something that it did not tell before.
    """
    resources.hold(PENDING)
    before = pending(resources)
    closed = before.closed | {organization} if closes else before.closed
    _put(resources, Pending(closed, before.opened | ({organization} - closed)), now_us)


def settle(resources: Resources, organization: str, *, version: int, now_us: int) -> bool:
    """Take an organization off: what names it is labelled by that version of it. Not when there is a newer one."""
    resources.hold(PENDING)
    found = resources.many([organization]).get(organization)
    if (found.version if found is not None else 0) != version:
        return False
    before = pending(resources)
    _put(resources, Pending(before.closed - {organization}, before.opened - {organization}), now_us)
    return True


def _put(resources: Resources, waiting: Pending, now_us: int) -> None:
    type_, _, id_ = PENDING.partition("/")
    if not waiting.every:
        resources.delete(type_, id_, now_us=now_us, source=LABELS)
        return
    contract: JsonObject = {"resourceType": type_, "id": id_, "status": "executed", "title": "Labelled anew"}
    for name, references in (("subject", waiting.closed), ("supportingInfo", waiting.opened)):
        if references:
            contract[name] = [{"reference": reference} for reference in sorted(references)]
    resources.put(Draft(contract, source=LABELS), now_us=now_us)


def _references(nodes: Iterable[JsonObject]) -> frozenset[str]:
    return frozenset(node["reference"] for node in nodes)
