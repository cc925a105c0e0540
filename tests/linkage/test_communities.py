"""The figures promised, on communities made by different error processes, each with a seed that nobody tuned to."""

from hashlib import sha256
from typing import Any

import pytest
from jellyfish import soundex

from gateway.adapters.files.linkage import default_reader, load_model
from gateway.bench._clerks import clerks
from gateway.bench._communities import Community, county, region
from gateway.bench._forms import forms
from gateway.bench._registers import febrl, registry
from gateway.linkage.batch import Outcome, link_one, link_two, stream
from gateway.linkage.evaluate import figures
from gateway.linkage.grades import Grade, corroboration
from gateway.linkage.traits import comparable


def measured(community: Community) -> tuple[dict[str, Any], Outcome]:
    """The command's figures of a community."""
    reader, model = default_reader(), load_model()
    left = [reader.row(row) for row in community.left]
    right = [reader.row(row) for row in community.right]
    at_left = {p.key: i for i, p in enumerate(left)}
    at_right = {p.key: i for i, p in enumerate(right)} if right else at_left
    truth = {(at_left[x], at_right[y]) for x, y in community.truth}
    if right:
        outcome = link_two(left, right, model, reader.nicknames.main_root)
    else:
        truth = {(min(pair), max(pair)) for pair in truth}
        outcome = link_one(left, model, reader.nicknames.main_root)
    return figures(outcome, truth, arrivals=len(right or left), one_file=not right), outcome


def supported(community: Community, outcome: Outcome) -> float:
    """The share of true pairs in which anything beyond name and birth date agrees."""
    reader, scorer = default_reader(), outcome.scorer
    left, right = ({row["id"]: reader.row(row) for row in side} for side in (community.left, community.right))
    pairs = [(left[one], right[other]) for one, other in community.truth]
    return sum(bool(corroboration(scorer, scorer.score(a, b), a, b)) for a, b in pairs) / len(pairs)


@pytest.mark.parametrize(("make", "recall"), [(county, 0.6), (region, 0.4), (clerks, 0.4), (forms, 0.25)])
def test_hard_communities_are_linked_safely_and_found(make: Any, recall: float) -> None:
    community = make(101, 900, 900)
    found, outcome = measured(community)
    # name and birth date alone never link, so what else agrees bounds what can be linked: nearly all of that is
    assert found["certain"]["recall"] >= 0.88 * supported(community, outcome)
    assert found["certain"]["precision"] >= 0.99
    assert found["certain"]["recall"] >= recall
    assert found["certain_probable"]["f1"] >= 0.9
    assert found["blocking_recall"] >= 0.975
    assert found["candidates_per_record"] <= 10
    assert found["without_partner_linked"] <= 0.005
    assert found["queue_per_1000"] <= 80


def test_doubles_in_one_file_where_kin_live_are_told_from_them() -> None:
    two = clerks(107, 300, 300)
    rows = [row | {"id": side + row["id"]} for side, rows in (("l", two.left), ("r", two.right)) for row in rows]
    found, _ = measured(Community(rows, [], {(f"l{x}", f"r{y}") for x, y in two.truth}))
    assert found["certain_probable"]["f1"] >= 0.92
    assert found["certain"]["precision"] >= 0.995


def test_a_register_of_names_and_dates_is_found_but_never_linked_automatically() -> None:
    found, outcome = measured(registry(102, 3000, 330))
    assert found["certain_probable"]["f1"] >= 0.95
    assert not [p for p in outcome.pairs if p.grade is Grade.CERTAIN]


def test_febrls_kind_of_errors_are_solved() -> None:
    found, _ = measured(febrl(103, 1000))
    assert found["certain_probable"]["f1"] >= 0.995


def test_what_streams_of_kin_and_namesakes_are_linked_to() -> None:
    """Three communities together, where four arrivals in ten are kin or namesakes of clients."""
    reader, model = default_reader(), load_model()
    wrong = strangers = 0
    for make in (county, region, clerks):
        community = make(104, 1000, 600, overlap=0.4, kin=0.4)
        _, arrive = stream([reader.row(row) for row in community.left], model, reader.nicknames.main_root)
        strangers += len(community.kind)
        for row in community.right:
            best = [m for m in arrive(reader.row(row))[0] if m.grade is Grade.CERTAIN]
            wrong += any((m.candidate.key, row["id"]) not in community.truth for m in best)
    assert wrong <= 0.005 * strangers


def test_two_runs_give_the_same_answer() -> None:
    one, first = measured(county(105, 400, 400))
    two, second = measured(county(105, 400, 400))
    assert one == two
    assert first.pairs == second.pairs


def _hashed(row: dict[str, str]) -> dict[str, str]:
    """A row as a hashed HMIS export has it: names by the hash of their Soundex, SSN by last four and hash."""
    out = row | {"alias": ""}
    for name in ("first", "middle", "last"):
        letters = "".join(c for c in row.get(name, "") if c.isalpha())
        out[name] = sha256(soundex(letters).encode()).hexdigest() if letters else ""
    ssn = row.get("ssn", "")
    out["ssn"] = ssn[-4:] + sha256(ssn.encode()).hexdigest() if ssn.isdigit() and len(ssn) == 9 else ""
    return out


def test_hashed_exports_link_with_hashed_ones() -> None:
    clear = county(106, 600, 600)
    hashed = Community([_hashed(r) for r in clear.left], [_hashed(r) for r in clear.right], clear.truth, clear.kind)
    found, _ = measured(hashed)
    assert found["certain_probable"]["f1"] >= 0.88
    assert found["certain"]["precision"] >= 0.99


def test_hashed_records_are_never_compared_with_clear_ones() -> None:
    clear = county(106, 150, 150)
    half = [_hashed(row) if n % 2 else row for n, row in enumerate(clear.right)]
    _, outcome = measured(Community(clear.left, half, clear.truth, clear.kind))
    assert outcome.pairs
    assert not [pair for pair in outcome.pairs if pair.right % 2]
    rows = [row | {"id": f"{side}{row['id']}"} for side, rows in (("a", clear.left), ("b", half)) for row in rows]
    people = [default_reader().row(row) for row in rows]
    one_file = link_one(people, load_model(), default_reader().nicknames.main_root)
    assert one_file.pairs
    assert all(comparable(people[pair.left], people[pair.right]) for pair in one_file.pairs)
