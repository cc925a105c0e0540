"""Break-glass at the REST doors: who may, with what reason, for how long, and who is told.

A caller breaks the glass when three things come together: its token declares the purpose BTG, its registration has one
of the roles of the setting, and it sends a reason. The time runs from the first use of a token; a further emergency
needs a further token. What opens the window is a Communication to the privacy officer, written in the transaction of
the first disclosure, so nothing is seen before the notice of it is on disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.consent.request import BREAK_GLASS, AccessRequest, BreakGlass
from gateway.exchange.disclose import NOTICES
from gateway.exchange.ports.resources import Draft, ResourceReader
from gateway.exchange.ports.store import Unit
from gateway.exchange.rest.ask import Ask
from gateway.kernel.fhir import ACT_REASON, DOORWAY, JsonObject, coding
from gateway.kernel.identifiers import resource_id

BROKEN: Final = "rule:break-glass"  # the gate's name for it in every audit record
REASON_LIMIT: Final = 500  # characters
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Emergency:
    """The rules of one site.

    Args:
        roles: ``system|code`` of registrations that may; nobody when empty.
        minutes: how long, from the first use of a token.
        officer: ``Organization/id`` that is told; nobody when empty.
    """

    roles: frozenset[str] = frozenset()
    minutes: int = 60
    officer: str = field(default="")

    def request(self, resources: ResourceReader, ask: Ask) -> AccessRequest:
        """The question that consent decides on, with the emergency in it when the caller may declare one."""
        request = ask.request()
        if not ask.reason or BREAK_GLASS not in request.purposes or self.roles.isdisjoint(ask.caller.client.roles):
            return request
        opened = resources.version("Communication", _notice_id(ask), 1)
        began = _EPOCH + timedelta(microseconds=opened.updated_us) if opened is not None else ask.now
        until = (began + timedelta(minutes=self.minutes)).astimezone(request.zone)
        return replace(request, break_glass=BreakGlass(ask.reason, until, privileged=True))

    def tell(self, unit: Unit, ask: Ask, because: Sequence[str]) -> None:
        """After a disclosure: when it broke the glass for the first time with this token, the notice of it."""
        id_ = _notice_id(ask)
        if BROKEN not in because:
            return
        unit.resources.hold(f"Communication/{id_}")
        if unit.resources.version("Communication", id_, 1) is None:
            draft = Draft(self._notice(ask, id_), method="POST", source=NOTICES)
            unit.resources.put(draft, now_us=ask.now_us)

    def _notice(self, ask: Ask, id_: str) -> JsonObject:
        """The Communication: who and why and until when; whose records it were stands in the audit trail alone."""
        until = ask.now + timedelta(minutes=self.minutes)
        notice: JsonObject = {
            "resourceType": "Communication",
            "id": id_,
            "status": "completed",
            "category": [{"coding": [coding("http://terminology.hl7.org/CodeSystem/communication-category", "alert")]}],
            "priority": "urgent",
            "topic": {"coding": [coding(f"{DOORWAY}/CodeSystem/notice", "break-glass")], "text": "Emergency access"},
            "sent": ask.now.isoformat(timespec="milliseconds"),
            "reasonCode": [{"coding": [coding(ACT_REASON, BREAK_GLASS)], "text": ask.reason}],
            "payload": [
                {
                    "contentString": f"Client {ask.client} ({ask.caller.client.organization}) declared an emergency and"
                    f" sees more than consent permits until {until.isoformat(timespec='minutes')}."
                    " doorway consent break-glass lists what it saw."
                }
            ],
        }
        if self.officer:
            notice["recipient"] = [{"reference": self.officer}]
        return notice


def _notice_id(ask: Ask) -> str:
    """One notice a token."""
    return resource_id("break-glass", ask.client, ask.caller.token.hex())
