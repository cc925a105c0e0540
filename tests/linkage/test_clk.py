"""Keyed filters find the same people without names, under one secret only, and nothing links by them alone."""

import pytest

from gateway.adapters.files.linkage import default_reader
from gateway.bench._communities import county
from gateway.bench._registers import febrl
from gateway.kernel.errors import Invalid
from gateway.linkage.clk import BITS, Encoder, dice, link_encoded, similarity
from tests.linkage.people import person

SECRET = b"of one agreement and period"


@pytest.mark.parametrize(("community", "f1"), [(febrl(9, 400), 0.95), (county(9, 400, 400), 0.8)])
def test_people_are_found_by_filters_alone(community: object, f1: float) -> None:
    reader, encoder = default_reader(), Encoder(SECRET)
    left, right = (
        [encoder.encode(reader.row(row)) for row in side]
        for side in (community.left, community.right)  # type: ignore[attr-defined]
    )
    found = {(left[i].key, right[j].key) for i, j, _ in link_encoded(left, right)}
    truth = community.truth  # type: ignore[attr-defined]
    assert 2 * len(found & truth) / (len(found) + len(truth)) >= f1


def test_another_secret_makes_other_filters_and_a_short_one_is_refused() -> None:
    who = person(first="Robert", last="Zqabitha", dob="1980-04-17")
    mine, theirs = Encoder(SECRET).encode(who), Encoder(SECRET + b"2").encode(who)
    assert similarity(mine, mine) == 1.0
    assert similarity(mine, theirs) < 0.3
    assert all(0 <= one < 1 << BITS for one in mine.filters)
    with pytest.raises(Invalid, match="too short"):
        Encoder(b"short")


def test_no_value_can_be_read_and_nothing_known_is_no_agreement() -> None:
    empty = Encoder(SECRET).encode(person())
    assert set(empty.filters) == {0}
    assert similarity(empty, empty) == 0.0
    assert dice(0, 0) == 0.0
