"""The review queue over HTTP: ``$link-queue``, ``$link-decide``, ``$link-undo``, for registrations with the role.

A reviewer learns that two records may be one person, which is why the role is needed (setting ``link_reviewer_roles``).
The traits are told as levels and bits; values only where the reviewer may see both records, and as it sees them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from gateway.codecs import json_text
from gateway.exchange.link import Linker
from gateway.exchange.link_review import Case, Decision, case_of, decide, given_to_reviewers, undo
from gateway.exchange.ports.links import Edge
from gateway.exchange.ports.store import Reading, Unit
from gateway.exchange.rest.ask import Answer, Ask
from gateway.exchange.rest.find import Finds, Scoped
from gateway.exchange.rest.operations import Operation, Where, simple_parameters
from gateway.exchange.save import Saver
from gateway.kernel.errors import Forbidden, Malformed, NotFound
from gateway.kernel.fhir import JsonObject, Resource
from gateway.linkage.patient import traits_of
from gateway.linkage.traits import Traits

Pairs: TypeAlias = Sequence[tuple[str, str]]
MOST: Final = 200  # pairs in one answer
_DECISIONS: Final = ("same", "not-same", "cannot-tell")


@dataclass(frozen=True, slots=True)
class ReviewOperations:
    """The use cases.

    Args:
        reviewers: ``system|code`` of registrations that may; nobody when empty.
    """

    finds: Finds
    linker: Linker
    saver: Saver
    reviewers: frozenset[str] = frozenset()

    def operations(self) -> Mapping[str, Operation]:
        """By place and name; none where no role may use them."""
        if not self.reviewers:
            return {}
        return {"system:$link-queue": self.queue, "system:$link-decide": self.decide, "system:$link-undo": self.undo}

    def queue(self, ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        """What waits, most likely first: ``_count`` pairs at most, how many there are, and how old the oldest is.

        Raises:
            Forbidden: not a reviewer. Malformed: ``_count`` is no number.
        """
        self._may(ask)
        count = dict([*pairs, *simple_parameters(body)]).get("_count", "20")
        if not (count.isascii() and count.isdigit() and 0 < int(count) <= MOST):
            raise Malformed("a number is wanted", at="_count", fix=f"1 to {MOST}")
        with self.finds.store.reading() as reading:
            sight = self.finds.sight(reading.resources, ask)
            waiting, oldest = reading.links.backlog()
            given = given_to_reviewers(self.linker, reading, waiting)
            cases = []
            for edge in reading.links.queue(limit=min(int(count), given)):
                try:
                    cases.append(self._case(reading, sight, edge, ask.now_us))
                except NotFound:
                    continue  # it left the index since
            self.finds.recorded(ask, sight, sight.release(()), "operation", "$link-queue", "")
        hours = (ask.now_us - oldest) / 3.6e9 if waiting else 0.0
        return _parameters(
            [
                {"name": "waiting", "valueInteger": waiting},
                {"name": "toReview", "valueInteger": given},
                {"name": "behind", "valueInteger": waiting - given},
                {"name": "oldestHours", "valueDecimal": round(hours, 1)},
                *({"name": "pair", "part": _pair(case.edge, _told(case))} for case in cases),
            ]
        )

    def _case(self, reading: Reading, sight: Scoped, edge: Edge, now_us: int) -> Case:
        stored = reading.resources.many((edge.one, edge.other)).values()
        seen: dict[str, Traits] = {
            one.reference: traits_of(json_text.parse(one.body) | {"id": one.id}, self.linker.reader)
            for one in sight.release(stored).resources
        }
        return case_of(self.linker, reading, edge, now_us=now_us, values=False, seen=seen if len(seen) == 2 else None)

    def decide(self, ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        """``one``, ``other``, ``decision`` (same, not-same, cannot-tell), ``why``, and who at the client: ``reviewer``.

        With the two-person rule the first "same" waits for a second reviewer.

        Raises:
            Forbidden: not a reviewer. Malformed: a part is missing. NotFound: no such pair. Conflict: see ``decide``.
        """
        one, other, by, given = self._said(ask, pairs, body)
        said = given.get("decision", "")
        if said not in _DECISIONS:
            raise Malformed("not a decision", at="decision", fix=", ".join(_DECISIONS))

        def work(unit: Unit) -> Edge:
            self._known(unit, one, other)
            self.finds.gate.record(unit, ask, "operation", what="$link-decide")
            return decide(
                self.linker, unit, one, other, cast("Decision", said),
                saver=self.saver, by=by, why=given["why"], now_us=ask.now_us,
            )  # fmt: skip

        return _parameters(_pair(self.finds.store.write(work), []))

    def undo(self, ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        """Split a wrong link for good: what it caused (audit records and messages) and the draft of the notice.

        Raises:
            Forbidden: not a reviewer. Malformed: a part is missing. NotFound: not linked directly.
        """
        one, other, by, given = self._said(ask, pairs, body)

        def work(unit: Unit) -> list[JsonObject]:
            self.finds.gate.record(unit, ask, "operation", what="$link-undo")
            done = undo(self.linker, unit, one, other, saver=self.saver, by=by, why=given["why"], now_us=ask.now_us)
            caused = [
                {"name": "disclosure", "part": [{"name": "record", "valueString": f"{r.lane}/{r.sequence}"}]}
                for r in done.disclosures
            ]
            sent = [
                {
                    "name": "message",
                    "part": [
                        {"name": "id", "valueString": m.id},
                        {"name": "destination", "valueString": m.destination},
                        {"name": "state", "valueCode": m.state},
                    ],
                }
                for m in done.messages
            ]
            return [*_pair(done.edge, []), *caused, *sent, {"name": "notice", "valueString": done.notice}]

        return _parameters(self.finds.store.write(work))

    # -- who and what ------------------------------------------------------------------------------------------------

    def _may(self, ask: Ask) -> None:
        if self.reviewers.isdisjoint(ask.caller.client.roles):
            raise Forbidden(
                "the review queue is for reviewers", at="Authorization", fix="link_reviewer_roles names them"
            )

    def _said(self, ask: Ask, pairs: Pairs, body: Resource | None) -> tuple[str, str, str, dict[str, str]]:
        """(record, record, who decides, every parameter); who is the client, and the person it names."""
        self._may(ask)
        given = {**dict([*pairs, *simple_parameters(body)])}
        missing = [name for name in ("one", "other", "why") if not given.get(name)]
        if missing:
            raise Malformed("a part is missing", at=missing[0], fix="send Parameters with one, other and why")
        one, other = sorted(
            text if text.startswith("Patient/") else f"Patient/{text}" for text in (given["one"], given["other"])
        )
        reviewer = given.get("reviewer", "")
        return one, other, f"{ask.client}/{reviewer}" if reviewer else ask.client, given

    def _known(self, unit: Unit, one: str, other: str) -> None:
        """Only what is held of a pair can be decided here: the operation is no way to ask whether a record exists."""
        if unit.links.edge(one, other) is None:
            raise NotFound("no such pair", at="one, other")


def _told(case: Case) -> list[JsonObject]:
    out: list[JsonObject] = [{"name": "waitingHours", "valueDecimal": round(case.waiting_s / 3600, 1)}]
    for line in case.lines:
        if line.level == "unknown":
            continue
        part: list[JsonObject] = [
            {"name": "trait", "valueString": line.comparison},
            {"name": "level", "valueString": line.level},
            {"name": "bits", "valueDecimal": line.bits},
        ]
        values = (("one", line.one), ("other", line.other))
        part += [{"name": name, "valueString": value} for name, value in values if value]
        out.append({"name": "evidence", "part": part})
    return out


def _pair(edge: Edge, more: Sequence[JsonObject]) -> list[JsonObject]:
    out: list[JsonObject] = [
        {"name": "one", "valueReference": {"reference": edge.one}},
        {"name": "other", "valueReference": {"reference": edge.other}},
        {"name": "state", "valueCode": edge.state.value},
        {"name": "grade", "valueCode": edge.grade},
        {"name": "bits", "valueDecimal": round(edge.bits, 2)},
    ]
    if edge.seconds:
        out.append({"name": "firstSignature", "valueString": edge.seconds})
    out += [{"name": "reason", "valueString": reason} for reason in edge.reasons]
    return [*out, *more]


def _parameters(parts: Sequence[Any]) -> Answer:
    out: JsonObject = {"resourceType": "Parameters", "parameter": list(parts)}
    return Answer(200, json_text.write(out))
