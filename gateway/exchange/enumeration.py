"""A watch against enumeration: how many different people one asker may ask for, and how often one person in variations.

Rates alone do not stop who is patient: sixty questions a minute are eighty-six thousand people a day. So each asker has
a budget of different people an hour, and a small one of variations on one name (the birth date or the number of
somebody whose name is known, tried out). What is beyond is refused, kept in the audit trail and counted. Both depend
on the asker's own questions alone, never on what is held or hidden.

The watch belongs to one process and forgets after an hour; it keeps numbers that mean nothing outside of the process.
"""

from collections.abc import Callable, Hashable, Iterator
from typing import Final

from gateway.kernel.errors import Exhausted
from gateway.linkage.traits import Traits

HOUR_US: Final = 3_600_000_000
VARIATIONS: Final = 20  # of one name an hour: typing mistakes and second tries, not a search
_MOST_ASKERS: Final = 10_000


class Watch:
    """Counts of one process.

    Args:
        people_per_hour: different questions of one asker.
        mix: makes a number of a question that says nothing elsewhere (salted for this process).
    """

    def __init__(self, people_per_hour: int, mix: Callable[[Hashable], int] = hash) -> None:
        self._budget: Final = people_per_hour
        self._mix = mix
        self._asked: dict[str, dict[int, tuple[int, int]]] = {}  # asker: question: (when, about which name)
        self._questions = self._refused = self._alarms = 0
        self._alarmed: dict[str, int] = {}

    def person(self, asker: str, person: Traits, *, now_us: int) -> None:
        """One question after a person.

        Raises:
            Exhausted: the asker's budget is spent; an alarm is counted once an hour and asker.
        """
        name = (person.given_sound, person.last_sound)
        question = (
            person.given, person.last, person.dob or (person.year, person.month), person.ssn or person.ssn4,
            person.health, person.numbers, person.phone, person.address,
        )  # fmt: skip
        self._note(asker, question, name if any(name) else None, now_us)

    def number(self, asker: str, system: str, value: str, *, now_us: int) -> None:
        """One question after an identifier.

        Raises:
            Exhausted: the asker's budget is spent.
        """
        self._note(asker, (system, value), None, now_us)

    def _note(self, asker: str, question: Hashable, name: Hashable | None, now_us: int) -> None:
        self._questions += 1
        asked = self._asked.setdefault(asker, {})
        for old in [key for key, (at, _) in asked.items() if at <= now_us - HOUR_US]:
            del asked[old]
        if len(self._asked) > _MOST_ASKERS:
            self._asked = {one: found for one, found in self._asked.items() if found}
        key, about = self._mix(question), 0 if name is None else self._mix(("name", name))
        if key not in asked:
            varied = sum(one == about for _, one in asked.values()) if about else 0
            if len(asked) >= self._budget or varied >= VARIATIONS:
                self._refuse(asker, now_us)
        asked[key] = now_us, about

    def _refuse(self, asker: str, now_us: int) -> None:
        self._refused += 1
        if self._alarmed.get(asker, -HOUR_US) <= now_us - HOUR_US:
            self._alarmed[asker] = now_us
            self._alarms += 1
        raise Exhausted("too many different people were asked for within an hour", fix="ask again later")

    def numbers(self) -> Iterator[tuple[str, float]]:
        """For operators: questions, refusals, and alarms (askers beyond their budget, once an hour each)."""
        yield "doorway_match_questions_total", self._questions
        yield "doorway_match_refused_total", self._refused
        yield "doorway_match_alarms_total", self._alarms
