"""The list to review after the fact: every disclosure for which somebody broke the glass."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gateway.exchange.audit_event import BECAUSE, REASON
from gateway.exchange.rest.emergency import BROKEN
from gateway.kernel.fhir import JsonObject, Resource


@dataclass(frozen=True, slots=True)
class Broken:
    """One disclosure that rests on a declared emergency."""

    recorded: str
    client: str
    organization: str
    reason: str = field(repr=False)
    patients: tuple[str, ...] = ()
    kinds: Mapping[str, int] = field(default_factory=dict)  # resource type -> how many

    def told(self) -> JsonObject:
        """For machines."""
        return {
            "recorded": self.recorded, "client": self.client, "organization": self.organization,
            "reason": self.reason, "patients": list(self.patients), "kinds": dict(self.kinds),
        }  # fmt: skip


def broken_glass(events: Iterable[Resource]) -> Iterator[Broken]:
    """The disclosures among AuditEvents that rest on an emergency, in their order."""
    for event in events:
        entities = event.get("entity", ())
        details = [d for entity in entities for d in entity.get("detail", ())]
        if not any(d.get("type") == BECAUSE and d.get("valueString") == BROKEN for d in details):
            continue
        agents = [agent.get("who", {}) for agent in event.get("agent", ())]
        named = [str(entity.get("what", {}).get("reference", "")) for entity in entities]
        yield Broken(
            recorded=str(event.get("recorded", "")),
            client=next((str(who["identifier"].get("value", "")) for who in agents if "identifier" in who), ""),
            organization=next((str(who["reference"]) for who in agents if "reference" in who), ""),
            reason=next((str(d.get("valueString", "")) for d in details if d.get("type") == REASON), ""),
            patients=tuple(one for one in named if one.startswith("Patient/") and "/_history/" not in one),
            kinds=dict(sorted(Counter(one.partition("/")[0] for one in named if "/_history/" in one).items())),
        )
