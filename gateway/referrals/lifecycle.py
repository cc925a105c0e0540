"""The life of a referral: what a Task may become, what its ServiceRequest then is, and what must be said with it.

SDOH Clinical Care 3.0.0 (Task for referral management): ``received`` and ``ready`` are not allowed; a Task that is
rejected, cancelled, on hold or failed says why in ``statusReason.text``; a rejected Task ends, and a retry is a new
Task on the same ServiceRequest. The transitions are ours, published here, since the guide leaves them open.
"""

from collections.abc import Mapping
from typing import Final

from gateway.kernel.errors import Conflict, Invalid
from gateway.kernel.fhir import JsonObject, Resource

TRANSITIONS: Final[Mapping[str, frozenset[str]]] = {
    "draft": frozenset({"requested", "cancelled"}),
    "requested": frozenset({"accepted", "rejected", "cancelled"}),
    "accepted": frozenset({"in-progress", "on-hold", "cancelled", "failed"}),
    "in-progress": frozenset({"completed", "on-hold", "failed", "cancelled"}),
    "on-hold": frozenset({"in-progress", "cancelled"}),
    "rejected": frozenset(),
    "cancelled": frozenset(),
    "failed": frozenset(),
    "completed": frozenset(),
    "entered-in-error": frozenset(),
}
REASON_NEEDED: Final = frozenset({"rejected", "cancelled", "on-hold", "failed"})

# Task.status -> ServiceRequest.status; a rejected or failed Task leaves the request open for another Task
REQUEST_STATUS: Final[Mapping[str, str]] = {
    "draft": "draft",
    "requested": "active",
    "accepted": "active",
    "in-progress": "active",
    "on-hold": "active",
    "rejected": "active",
    "failed": "active",
    "cancelled": "revoked",
    "completed": "completed",
    "entered-in-error": "entered-in-error",
}

# Task.status -> second coding of businessStatus: BSeR TaskBusinessStatus, the hospital side's words for the same loop
BSER: Final = "http://hl7.org/fhir/us/bser/CodeSystem/TaskBusinessStatusCS"
BUSINESS_STATUS: Final[Mapping[str, tuple[str, str]]] = {
    "requested": ("2.0", "Service request created"),
    "accepted": ("3.0", "Service request accepted"),
    "rejected": ("4.0", "Service request declined"),
    "cancelled": ("6.0", "Service request fulfillment cancelled"),
    "completed": ("7.0", "Service request fulfillment completed"),
}


def is_referral(task: Resource) -> bool:
    """Whether a Task asks for the fulfilment of a ServiceRequest: intent order, and the focus a ServiceRequest."""
    focus = task.get("focus")
    literal = focus.get("reference", "") if isinstance(focus, dict) else ""
    return task.get("resourceType") == "Task" and task.get("intent") == "order" and "ServiceRequest/" in literal


def check_change(before: Resource | None, after: Resource) -> None:
    """Refuse a referral Task whose new state cannot follow from the old one.

    Args:
        before: the stored version; None when the Task is new.
        after: the version about to be stored; other Tasks than referrals pass.

    Raises:
        Invalid: a status that a referral Task cannot have, or a reason that must be given is missing.
        Conflict: the status cannot follow the stored one.
    """
    if not is_referral(after):
        return
    status = after.get("status")
    if not isinstance(status, str) or status not in TRANSITIONS:
        raise Invalid("not a status of a referral", at="Task.status", fix="one of " + ", ".join(TRANSITIONS))
    if status in REASON_NEEDED and not _reason_text(after):
        raise Invalid(f"a {status} referral says why", at="Task.statusReason.text", fix="give a reason in words")
    previous = before.get("status") if before is not None else None
    if before is None or previous == status or status == "entered-in-error":
        return
    if status not in TRANSITIONS.get(str(previous), frozenset()):
        allowed = sorted(TRANSITIONS.get(str(previous), ()))
        raise Conflict(
            f"{status} cannot follow {previous}",
            at="Task.status",
            fix=f"allowed: {', '.join(allowed)}"
            if allowed
            else "the referral has ended: make a new Task on the same ServiceRequest",
        )


def reachable(status: str, wanted: str) -> bool:
    """Whether a referral can have come from one state to another, in any number of steps; not: it stands there already.

    A partner tells of steps that happened elsewhere, and may leave some out.
    """
    seen: set[str] = set()
    todo = [status]
    while todo:
        follow = TRANSITIONS.get(todo.pop(), frozenset()) - seen
        if wanted in follow:
            return wanted != status
        seen |= follow
        todo += follow
    return False


def advance(
    task: Resource, status: str, *, now: str, reason: str = "", output: tuple[JsonObject, ...] = ()
) -> Resource:
    """The Task in its next state: status, businessStatus, reason, outputs and lastModified; the argument is unchanged.

    Args:
        now: instant as FHIR dateTime.

    Raises:
        Invalid, Conflict: as :func:`check_change`.
    """
    after = {key: value for key, value in task.items() if key not in {"statusReason", "businessStatus"}}
    after["status"] = status
    after["lastModified"] = now
    if reason:
        after["statusReason"] = {"text": reason}
    if status in BUSINESS_STATUS:
        code, display = BUSINESS_STATUS[status]
        after["businessStatus"] = {"coding": [{"system": BSER, "code": code, "display": display}]}
    if output:
        after["output"] = [*task.get("output", []), *output]
    check_change(task, after)
    return after


def request_after(request: Resource, task: Resource) -> Resource:
    """The ServiceRequest as its Task's state makes it; the same object when nothing changes."""
    status = REQUEST_STATUS.get(str(task.get("status")))
    if status is None or request.get("status") == status:
        return request
    return {**request, "status": status}


def _reason_text(task: Resource) -> str:
    reason = task.get("statusReason")
    text = reason.get("text") if isinstance(reason, dict) else None
    return text.strip() if isinstance(text, str) else ""
