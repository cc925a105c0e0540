"""Twins of similar names, where one agency keeps two records of one birth date, surname and home.

Sean and Shawn are one name to a scorer that knows spellings. Two such records of one custodian may be two people or one
entered twice, which only a person can tell; a record of another custodian that fits both waits for one, unless it bears
the very name of one of them.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

from gateway.exchange.ports.links import Edge, EdgeState, Known
from gateway.linkage.scoring import Scorer
from gateway.linkage.traits import Traits, unpack

EdgeOf: TypeAlias = Callable[[str, str], Edge | None]
_BORN: Final = frozenset({"same"})
_SURNAME: Final = frozenset({"same", "alias", "part"})
_ALIKE: Final = frozenset({"nickname", "one_edit", "two_edits", "near"})
_APART: Final = frozenset({"else"})  # of their homes: who lives elsewhere by now may be one person entered twice


def may_be_twins(scorer: Scorer, a: Traits, b: Traits) -> bool:
    """Whether two records of one custodian may be two people of similar names; equal numbers say that they are one."""
    if a.given == b.given or (a.ssn and a.ssn == b.ssn) or (a.health and a.health == b.health):
        return False
    vector = scorer.vector(a, b)
    given, last, dob, place = (scorer.level(vector, name) for name in ("given", "last", "dob", "place"))
    return given in _ALIKE and last in _SURNAME and dob in _BORN and place not in _APART


class Household:
    """The records found for one arrival, by custodian, its own custodian's among them.

    Args:
        person: the arrival.
        custodian: whose record it is.
        found: every candidate, of whatever custodian.
    """

    def __init__(self, scorer: Scorer, person: Traits, custodian: str, found: Sequence[Known]) -> None:
        self._scorer = scorer
        self._person = person
        self._custodian = custodian
        self._found = found

    def two_people(self, candidate: Traits, of: str) -> bool:
        """Whether a twin of either record stands beside it in its own custodian's data, and their names differ."""
        if candidate.given == self._person.given:
            return False
        return any(self._twins(candidate, of)) or any(self._twins(self._person, self._custodian))

    def wrongly_held(self, candidate: Traits, edge_of: EdgeOf) -> Iterator[tuple[Edge, Traits]]:
        """Automatic links of the candidate with a twin of the arrival, where the arrival alone bears its very name.

        Args:
            edge_of: what is held of two records; asked for twins only.
        """
        if candidate.given != self._person.given:
            return
        for twin in self._twins(self._person, self._custodian):
            edge = edge_of(candidate.key, twin.key)
            if edge is not None and edge.automatic and edge.state is EdgeState.LINKED:
                yield edge, twin

    def _twins(self, one: Traits, custodian: str) -> Iterator[Traits]:
        for known in self._found:
            if known.custodian == custodian and known.patient != one.key:
                other = unpack(known.traits)
                if may_be_twins(self._scorer, one, other):
                    yield other
