"""Writing resources from any door: labelled, versioned, stored; the one path for REST, HL7 v2, HMIS and referrals."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from gateway.consent.labels import merged
from gateway.exchange.ports.resources import Draft, Stored
from gateway.exchange.ports.store import Unit
from gateway.kernel.fhir import JsonObject, Resource

Label: TypeAlias = Callable[[Resource], Iterable[JsonObject]]  # security labels that the content calls for

Join: TypeAlias = Callable[[Iterable[JsonObject], Iterable[JsonObject]], tuple[JsonObject, ...]]  # vouched, found


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
    """

    def __init__(
        self,
        label: Label,
        followers: "Sequence[Follower]" = (),
        *,
        join: Join = merged,
        prepare: "Prepare | None" = None,
        told: "Told | None" = None,
    ) -> None:
        self._label = label
        self._prepare = prepare
        self._join = join
        self._told = told
        self._followers = tuple(followers)

    def save(self, unit: Unit, drafts: Sequence[Draft], *, now_us: int) -> list[Stored]:
        """Store the drafts in order; each answer is the newest version, an old one when nothing changed.

        ``meta.security`` becomes the labels that the labelling step finds and those that our own mapping vouches for
        (``Draft.labels``); labels that the sender wrote are dropped, so nobody can label his way past consent.

        Raises:
            Invalid, Malformed: a draft without id, or text that is not strict JSON; the transaction is to be undone.
        """
        prepared = drafts if self._prepare is None else [self._prepare(unit, draft) for draft in drafts]
        stored = unit.resources.put_all(self.labelled(unit, prepared), now_us=now_us)
        for follow in self._followers:
            follow(self, unit, stored, now_us)
        return stored

    def labelled(self, unit: Unit, drafts: Sequence[Draft]) -> list[Draft]:
        """The drafts with every label that they are to carry."""
        told = self._told(unit, drafts) if self._told is not None else [()] * len(drafts)
        out = []
        for draft, more in zip(drafts, told, strict=True):
            found = self._label(draft.resource)
            out.append(draft.with_labels(self._join(draft.labels, (*found, *more) if more else found)))
        return out


Prepare: TypeAlias = Callable[[Unit, Draft], Draft]
Follower: TypeAlias = Callable[[Saver, Unit, Sequence[Stored], int], None]
Told: TypeAlias = Callable[[Unit, Sequence[Draft]], Sequence[tuple[JsonObject, ...]]]
