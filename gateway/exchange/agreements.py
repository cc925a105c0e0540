"""Agreements of organizations (MOU): who is party to the exchange at all, from when and until when.

Stands above every Consent: an Organization without a current agreement receives nothing, whatever a Consent says. An
agreement is a Contract in the store that only the operator writes (``doorway client add``, ``doorway client
agreement``): no door of the API reaches its id, so nobody can record one for himself, and its versions tell who was
party when.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from typing import Final

import orjson

from gateway.consent.times import span_of
from gateway.consent.view import local
from gateway.exchange.ports.resources import Draft, ResourceReader, Resources, Stored
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import JsonObject
from gateway.kernel.identifiers import resource_id

AGREEMENTS: Final = "doorway:agreements"  # source of the Contracts that count; no client can have this name
FIRST_DAYS: Final = 365  # how long the agreement is that a registration records where none is on record


@dataclass(frozen=True, slots=True)
class Agreement:
    """One organization's agreement: first and last day, civil dates of the site; ``until`` empty: without an end."""

    organization: str
    since: str
    until: str = ""

    def holds(self, now_us: int, zone: tzinfo) -> bool:
        """Whether it is in force at an instant; dates that cannot be read are none."""
        span = span_of(self.since, self.until or None, zone)
        return span is not None and span[0] is not None and span[0] <= now_us and (span[1] is None or now_us <= span[1])


def contract_of(organization: str) -> str:
    """``Contract/id`` under which the agreement of an organization is kept."""
    return f"Contract/{resource_id('agreement', local(organization))}"


def read_agreement(stored: Stored | None) -> Agreement | None:
    """The agreement that a stored Contract is; None when it is none, or not the operator's."""
    if stored is None or stored.deleted or stored.source != AGREEMENTS:
        return None
    contract = orjson.loads(stored.body)
    applies, subject = contract.get("applies", {}), contract["subject"][0]["reference"]
    return Agreement(subject, applies.get("start", ""), applies.get("end", ""))


def agreement_of(resources: ResourceReader, organization: str) -> Agreement | None:
    """The agreement on record for ``Organization/id``, in force or not."""
    reference = contract_of(organization)
    return read_agreement(resources.many([reference]).get(reference))


def agreements(resources: ResourceReader) -> Iterator[Agreement]:
    """Every agreement on record, by organization."""
    found = (read_agreement(stored) for stored in resources.of_type("Contract"))
    yield from sorted((one for one in found if one is not None), key=lambda one: one.organization)


def contract(agreement: Agreement) -> JsonObject:
    """The Contract (R4) that records an agreement."""
    applies = {"start": agreement.since} | ({"end": agreement.until} if agreement.until else {})
    return {
        "resourceType": "Contract",
        "id": contract_of(agreement.organization).partition("/")[2],
        "status": "executed",
        "title": "Agreement of the visibility group",
        "applies": applies,
        "subject": [{"reference": local(agreement.organization)}],
    }


def agree(resources: Resources, organization: str, *, since: str, until: str = "", now_us: int) -> Agreement:
    """Put an organization's agreement on record, in place of the one before, which stays in the history.

    Args:
        since: first day, ``YYYY-MM-DD``. until: last day; empty: without an end.

    Raises:
        Invalid: not a reference to an Organization, no such day, or an end before the beginning.
    """
    named = local(organization)
    if not named.startswith("Organization/") or named.count("/") != 1:
        raise Invalid("not a reference", at="--organization", fix="write Organization/id")
    first, last = _day(since, "--agreement-from"), _day(until, "--agreement-until") if until else None
    if last is not None and last < first:
        raise Invalid("it would end before it begins", at="--agreement-until")
    made = Agreement(named, first.isoformat(), last.isoformat() if last is not None else "")
    resources.put(Draft(contract(made), source=AGREEMENTS), now_us=now_us)
    return made


def agree_at_first(resources: Resources, organization: str, *, today: date, now_us: int) -> Agreement:
    """The agreement on record; where there is none, one of a year from today. An ended one is not revived."""
    found = agreement_of(resources, organization)
    if found is not None:
        return found
    until = (today + timedelta(days=FIRST_DAYS)).isoformat()
    return agree(resources, organization, since=today.isoformat(), until=until, now_us=now_us)


def drafts(organizations: Iterable[str], since: str, now_us: int) -> Iterator[Stored]:
    """Agreements as they would be, for questions of what would be different; they are not kept."""
    for organization in organizations:
        made = contract(Agreement(local(organization), since))
        yield Stored("Contract", made["id"], 1, now_us, "PUT", orjson.dumps(made), source=AGREEMENTS)


def _day(text: str, at: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Invalid("not a day", at=at, fix="write YYYY-MM-DD") from None
