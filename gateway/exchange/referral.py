"""Every stored Task of a referral follows the published transitions, and its ServiceRequest follows the Task.

One place for REST, HL7 v2 and HMIS alike: the saver calls it after each write, inside the same transaction, so that a
change that cannot be made undoes the write, and both sides always see one state.
"""

from collections.abc import Sequence

from gateway.codecs import json_text
from gateway.exchange.ports.resources import Draft, Stored
from gateway.exchange.ports.store import Unit
from gateway.exchange.save import Saver
from gateway.kernel.fhir import Resource
from gateway.referrals.lifecycle import check_change, is_referral, request_after


def follow_referrals(saver: Saver, unit: Unit, stored: Sequence[Stored], now_us: int) -> None:
    """Check each referral Task just written against the version before, and carry its state to the ServiceRequest.

    Raises:
        Invalid, Conflict: the Task's new state is not allowed (see referrals.lifecycle); the transaction is undone.
    """
    for task in stored:
        if task.type == "Task" and not task.deleted and task.updated_us >= now_us:
            _follow(saver, unit, task, now_us)


def _follow(saver: Saver, unit: Unit, stored: Stored, now_us: int) -> None:
    task = json_text.parse(stored.body)
    if not is_referral(task):
        return
    check_change(_before(unit, stored), task)
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
