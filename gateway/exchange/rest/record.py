"""The gate of the REST API over the consent engine: a judge for every request, an AuditEvent for everything it does."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.consent.release import Judgement, Released, release
from gateway.consent.view import STRANGER, patients_in
from gateway.exchange import disclose
from gateway.exchange.audit_text import audit_text
from gateway.exchange.disclose import Knowledge
from gateway.exchange.ports.resources import ResourceReader, Stored
from gateway.exchange.ports.store import Unit
from gateway.exchange.rest.ask import Ask
from gateway.exchange.rest.emergency import Emergency
from gateway.exchange.rest.gate import Sight
from gateway.kernel.fhir import DOORWAY, JsonObject, coding

_NOTICE: Final = f"{DOORWAY}/CodeSystem/notice"
_TRANSLATION: Final = "http://hl7.org/fhir/StructureDefinition/translation"
_OWN: Final = Judgement(True, ("rule:own-records",))
_WHAT_LIMIT: Final = 200  # characters; an address may hold anything
_CODES: Final = {"search": "search-type", "history": "history-instance"}


@dataclass(frozen=True, slots=True)
class RestGate:
    """Consent and audit for the REST use cases; keeps :class:`gateway.exchange.rest.gate.Gate`."""

    knowledge: Knowledge
    emergency: Emergency = field(default_factory=Emergency)

    def sight(self, reader: ResourceReader, ask: Ask) -> Sight:
        """The judge of one request.

        Requests of one caller that share a transaction share the judge as long as nothing is written in it: what it has
        loaded (organization, agreement, Consents) is what any of them would load.
        """
        memo: dict[Any, Sight] | None = getattr(reader, "memo", None)
        if memo is None:
            return disclose.Gate(reader, self.emergency.request(reader, ask), self.knowledge)
        registered = ask.caller.client
        key: tuple[Any, ...] = (ask.client, registered.organization, registered.roles, ask.caller.purposes)
        if ask.reason:
            key = (*key, ask.reason, ask.caller.token)
        found = memo.get(key)
        if found is None:
            found = memo[key] = disclose.Gate(reader, self.emergency.request(reader, ask), self.knowledge)
        return found

    def own(self, ask: Ask, written: Sequence[Stored]) -> Released[Stored]:
        """What the caller has just written itself, with id and meta as stored."""
        return release(ask.caller.client.organization, written, lambda _stored: _OWN)

    def notice(self, codes: Sequence[str]) -> JsonObject:
        """The OperationOutcome with the texts of notices; the other languages as translations of the first."""
        issues: list[JsonObject] = []
        for code in codes:
            texts = dict(self.knowledge.notices.get(code) or {"en": code})
            language, text = next(iter(texts.items()))
            details: JsonObject = {"coding": [coding(_NOTICE, code)], "text": text}
            others = [
                {"url": _TRANSLATION, "extension": [{"url": "lang", "valueCode": one},
                                                    {"url": "content", "valueString": words}]}
                for one, words in texts.items() if one != language
            ]  # fmt: skip
            if others:
                details["_text"] = {"extension": others}
            issues.append({"severity": "information", "code": "informational", "details": details})
        return {"resourceType": "OperationOutcome", "issue": issues}

    def record(
        self,
        unit: Unit,
        ask: Ask,
        interaction: str,
        *,
        what: str = "",
        query: str = "",
        sight: Sight | None = None,
        released: Released[Stored] | None = None,
        written: Sequence[Stored] = (),
        refused: str = "",
    ) -> None:
        """Append the AuditEvent of one interaction to the unit."""
        out = [*written, *(released.resources if released is not None else ())]
        if ask.reason and released is not None:
            self.emergency.tell(unit, ask, released.because)
        event = audit_text(
            self.emergency.request(unit.resources, ask),
            _CODES.get(interaction, interaction),
            patients=self._people(unit, out),
            released=[f"{stored.reference}/_history/{stored.version}" for stored in out],
            because=released.because if released is not None else (),
            withheld=released.withheld if released is not None else None,
            what=what if len(what) < _WHAT_LIMIT and what.isprintable() else _printable(what),
            query=query,
            refused=refused,
            address=ask.address,
            id_=ask.id,
            server=ask.base,
        )
        unit.audit.append(event, now_us=ask.now_us)

    def _people(self, unit: Unit, out: Sequence[Stored]) -> Sequence[str]:
        """``Patient/id`` of everybody whom these are about, sorted."""
        people: set[str] = set()
        for stored in out:
            named = patients_in(stored.facets)
            if named and STRANGER not in named:
                people.update(named)
            else:
                people |= self.knowledge.people(stored, unit.resources)
        return sorted(people)


def _printable(what: str) -> str:
    """An address as far as a FHIR string, and XML, can hold it."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in what[:_WHAT_LIMIT])
