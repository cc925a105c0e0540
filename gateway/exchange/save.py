"""Writing resources from any door: labelled, versioned, stored; the one path for REST, HL7 v2, HMIS and referrals."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import orjson

from gateway.consent.labels import is_claim, merged, vouched_of
from gateway.exchange.ports.resources import Draft, Stored
from gateway.exchange.ports.store import Unit
from gateway.kernel.fhir import JsonObject, Resource

Label: TypeAlias = Callable[[Resource], Iterable[JsonObject]]  # security labels that the content calls for

Join: TypeAlias = Callable[[Iterable[JsonObject], Iterable[JsonObject]], tuple[JsonObject, ...]]  # vouched, found

Claim: TypeAlias = Callable[[Resource, str], Sequence[JsonObject]]  # labels by which a sender closes his own record


class Saver:
    """Labels each draft and stores it inside the caller's transaction.

    Args:
        label: the labelling step (gateway.consent.labels), from a resource to Codings for ``meta.security``.
        followers: what must happen with everything that is written, whichever door it came by: they are given the
            saver, the unit, the stored versions and the instant, after the write and inside its transaction; what they
            raise undoes it. They may save in their turn.
        prepare: what is added to a draft before it is written (links that the gateway knows of and a sender does not).
        join: how labels of a mapping and labels of the labelling step become one set (gateway.consent.labels).
        told: labels that other stored resources tell of these (exchange/organization_labels.py).
        claim: the labels that a sender wrote which can only close (gateway.consent.labels).
        bereaved: followers of deletions.
    """

    def __init__(
        self,
        label: Label,
        followers: "Sequence[Follower]" = (),
        *,
        join: Join = merged,
        prepare: "Prepare | None" = None,
        told: "Told | None" = None,
        claim: Claim = lambda _, __: (),
        bereaved: "Sequence[Follower]" = (),
    ) -> None:
        self._label = label
        self._prepare = prepare
        self._join = join
        self._told = told
        self._claim = claim
        self._followers = tuple(followers)
        self._bereaved = tuple(bereaved)

    def save(self, unit: Unit, drafts: Sequence[Draft], *, now_us: int) -> list[Stored]:
        """Store the drafts in order; each answer is the newest version, an old one when nothing changed.

        ``meta.security`` becomes the labels that the labelling step finds and those that our own mapping vouches for
        (``Draft.labels``). Where no mapping speaks, what one vouched for before stays, so that no other door opens a
        record; what its own sender wrote is heard where it closes, so nobody can label his way past consent.

        Raises:
            Invalid, Malformed: a draft without id, or text that is not strict JSON; the transaction is to be undone.
        """
        prepared = drafts if self._prepare is None else [self._prepare(unit, draft) for draft in drafts]
        stored = unit.resources.put_all(self.labelled(unit, prepared), now_us=now_us)
        for follow in self._followers:
            follow(self, unit, stored, now_us)
        return stored

    def delete(self, unit: Unit, type_: str, id_: str, *, now_us: int, source: str) -> Stored | None:
        """Delete a record, with what must happen after that; the version that says so, None when there is nothing."""
        gone = unit.resources.delete(type_, id_, now_us=now_us, source=source)
        if gone is not None:
            self.deleted(unit, gone, now_us=now_us)
        return gone

    def deleted(self, unit: Unit, gone: Stored, *, now_us: int) -> None:
        """What must happen after a record was deleted, inside its transaction."""
        for follow in self._bereaved:
            follow(self, unit, [gone], now_us)

    def labelled(self, unit: Unit, drafts: Sequence[Draft]) -> list[Draft]:
        """The drafts with every label that they are to carry."""
        told = self._told(unit, drafts) if self._told is not None else [()] * len(drafts)
        silent = [_reference(draft) for draft in drafts if draft.labels is None and not draft.fresh]
        before = unit.resources.many(silent) if silent else {}
        out = []
        for draft, more in zip(drafts, told, strict=True):
            found = self._label(draft.resource)
            vouched = self._standing(draft, before.get(_reference(draft))) if draft.labels is None else draft.labels
            out.append(draft.with_labels(self._join(vouched, (*found, *more) if more else found)))
        return out

    def _standing(self, draft: Draft, current: Stored | None) -> Sequence[JsonObject]:
        """What was vouched for before, and what the sender says of a record that is his."""
        if current is None:
            return self._claim(draft.resource, draft.source)
        kept = vouched_of(orjson.loads(current.body)) if b'"security"' in current.body else ()
        others = tuple(label for label in kept if not is_claim(label, draft.source))
        if current.owner not in {draft.source, draft.owner or draft.source} and len(others) == len(kept):
            return kept
        return (*others, *self._claim(draft.resource, draft.source))


def _reference(draft: Draft) -> str:
    return f"{draft.resource.get('resourceType', '')}/{draft.resource.get('id', '')}"


Prepare: TypeAlias = Callable[[Unit, Draft], Draft]
Follower: TypeAlias = Callable[[Saver, Unit, Sequence[Stored], int], None]
Told: TypeAlias = Callable[[Unit, Sequence[Draft]], Sequence[tuple[JsonObject, ...]]]
