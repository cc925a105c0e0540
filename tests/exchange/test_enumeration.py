"""Who asks for too many people, or tries out one person's facts, is refused; who works as people work is not."""

import pytest

from gateway.exchange.enumeration import HOUR_US, VARIATIONS, Watch
from gateway.kernel.errors import Exhausted
from tests.linkage.people import person


def asked(watch: Watch, n: int, *, at: int = 0, asker: str = "h", dob: str = "1980-04-17") -> None:
    first, last = f"zq{'abcdefghij'[n % 10]}", f"Zq{'bcdfglmnrst'[n // 10]}on"
    watch.person(asker, person(f"q{n}", first=first, last=last, dob=dob), now_us=at)


def test_the_budget_is_of_different_people_and_each_asker_has_its_own() -> None:
    watch = Watch(5)
    for _ in range(3):
        for n in range(5):
            asked(watch, n * 10)
    with pytest.raises(Exhausted):
        asked(watch, 50)
    with pytest.raises(Exhausted):
        watch.number("h", "urn:x", "1", now_us=0)
    asked(watch, 50, asker="other")
    asked(watch, 0)  # somebody asked for before is no new person
    assert dict(watch.numbers()) == {
        "doorway_match_questions_total": 19, "doorway_match_refused_total": 2, "doorway_match_alarms_total": 1,
    }  # fmt: skip
    asked(watch, 50, at=HOUR_US + 1)


def test_trying_out_the_birth_dates_of_a_name_is_refused_long_before_the_budget() -> None:
    watch = Watch(10_000)
    for n in range(VARIATIONS):
        asked(watch, 0, dob=f"1980-05-{n + 1:02d}")
    with pytest.raises(Exhausted):
        asked(watch, 0, dob="1980-06-01")
    asked(watch, 10, dob="1980-06-01")


def test_what_is_kept_is_a_number_of_this_process() -> None:
    watch = Watch(5, mix=lambda question: hash(("salt", question)))
    asked(watch, 3)
    assert all(type(key) is int for kept in watch._asked.values() for key in kept)
