"""Referrals stay consistent whichever door a change comes by: followers of the saver, inside the write's transaction.

A partner that moves a Task over REST is held to the published transitions (:func:`check_referrals`); a feed reports
what has happened elsewhere, possibly several steps later, and is believed. In both cases the ServiceRequest follows its
Task (:func:`carry_referrals`), so that both sides always see one state.
"""

from collections.abc import Iterator, Sequence

from gateway.codecs import json_text
from gateway.exchange.ports.resources import Draft, Stored
from gateway.exchange.ports.store import Unit
from gateway.exchange.save import Saver
from gateway.kernel.fhir import Resource
from gateway.referrals.lifecycle import check_change, is_referral, request_after


def check_referrals(_saver: Saver, unit: Unit, stored: Sequence[Stored], now_us: int) -> None:
    """Refuse a step of a referral Task that cannot follow from its version before.

    Raises:
        Invalid, Conflict: see referrals.lifecycle; the transaction is undone.
    """
    for version, task in _referral_tasks(stored, now_us):
        check_change(_before(unit, version), task)


def carry_referrals(saver: Saver, unit: Unit, stored: Sequence[Stored], now_us: int) -> None:
    """Carry the state of each referral Task just written to its ServiceRequest."""
    for version, task in _referral_tasks(stored, now_us):
        _carry(saver, unit, version, task, now_us)


def _referral_tasks(stored: Sequence[Stored], now_us: int) -> Iterator[tuple[Stored, Resource]]:
    for version in stored:
        if version.type == "Task" and not version.deleted and version.updated_us >= now_us:
            task = json_text.parse(version.body)
            if is_referral(task):
                yield version, task


def _carry(saver: Saver, unit: Unit, stored: Stored, task: Resource, now_us: int) -> None:
    type_, _, id_ = str(task["focus"]["reference"]).split("/_history")[0].rpartition("/")
    request = unit.resources.get(type_.rpartition("/")[2], id_)
    if request is None or request.deleted or _other_open(unit, task, request):
        return
    known = json_text.parse(request.body)
    after = request_after(known, task)
    if after is not known:
        body = json_text.write(after)  # decimals keep their text; only status differs
        saver.save(unit, [Draft(after, body, "PUT", stored.source)], now_us=now_us)


def _before(unit: Unit, stored: Stored) -> Resource | None:
    if stored.version == 1:
        return None
    previous = unit.resources.version(stored.type, stored.id, stored.version - 1)
    return None if previous is None or previous.deleted else json_text.parse(previous.body)


def _other_open(unit: Unit, task: Resource, request: Stored) -> bool:
    """Whether a cancelled Task leaves another Task of the same request alive: then the request goes on."""
    if task.get("status") != "cancelled":
        return False
    subject = task.get("for", {}).get("reference")
    if not isinstance(subject, str):
        return False
    for other in unit.resources.compartment([subject]):
        if other.type != "Task" or other.id == task.get("id"):
            continue
        candidate = json_text.parse(other.body)
        same = str(candidate.get("focus", {}).get("reference", "")).endswith(request.reference)
        if (
            same
            and is_referral(candidate)
            and candidate.get("status") in {"requested", "accepted", "in-progress", "on-hold"}
        ):
            return True
    return False
