"""The review queue over HTTP: for reviewers only, with evidence, values only of what they may see, and two people."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.exchange.ports.store import Store
from tests.adapters.http.conftest import World, world_over
from tests.adapters.http.test_break_glass import caller
from tests.exchange.test_link import THIN, patient, save

REVIEWER = "urn:roles|reviewer"


@pytest.fixture
def bench(sqlite_store: Store, tmp_path: Path) -> Iterator[World]:
    """A gateway where one pair waits: name and birth date only."""
    for world in world_over(sqlite_store, tmp_path, link_reviewer_roles=[REVIEWER], link_two_people=True):
        save(world.store, *(patient(f"r{n}", f"source{n}", **THIN) for n in range(2)))
        yield world


def parameters(answer: Any) -> dict[str, list[Any]]:
    assert answer.status_code == 200, answer.text
    out: dict[str, list[Any]] = {}
    for one in answer.json()["parameter"]:
        value = one.get("part") or next(v for k, v in one.items() if k.startswith("value"))
        out.setdefault(one["name"], []).append(value)
    return out


def part(parts: list[dict[str, Any]], name: str) -> list[Any]:
    return [next(v for k, v in p.items() if k.startswith(("value", "part"))) for p in parts if p["name"] == name]


def said(**values: str) -> bytes:
    given = [{"name": name, "valueString": value} for name, value in values.items()]
    return orjson.dumps({"resourceType": "Parameters", "parameter": given})


def test_only_a_reviewer_learns_what_waits(bench: World) -> None:
    assert bench.ehr("GET", "/$link-queue").status_code == 403
    assert bench.ehr("POST", "/$link-decide", said(one="r0", other="r1", decision="same", why="x")).status_code == 403


def test_the_queue_tells_evidence_and_age_and_no_value_of_a_hidden_record(bench: World) -> None:
    reviewer = caller(bench, "rev", roles=(REVIEWER,), purpose="TREAT", organization="Organization/r")
    answer = reviewer("GET", "/$link-queue?_count=5")
    told = parameters(answer)
    assert (told["waiting"], told["behind"]) == ([1], [0])
    (pair,) = told["pair"]
    assert part(pair, "one") == [{"reference": "Patient/r0"}]
    assert part(pair, "reason") == ["nothing beyond name and birth date agrees"]
    evidence = {part(one, "trait")[0]: one for one in part(pair, "evidence")}
    assert part(evidence["dob"], "level") == ["same"]
    assert part(evidence["dob"], "bits")[0] > 5
    assert "zqabitha" not in answer.text.lower()
    assert reviewer("GET", "/$link-queue?_count=none").status_code == 400


def test_two_reviewers_make_one_person_and_an_undo_takes_it_back(bench: World) -> None:
    reviewer = caller(bench, "rev", roles=(REVIEWER,), purpose="TREAT", organization="Organization/r")
    same = {"one": "r0", "other": "Patient/r1", "decision": "same", "why": "saw both cards"}
    first = parameters(reviewer("POST", "/$link-decide", said(**same, reviewer="ann")))
    assert (first["state"], first["firstSignature"]) == (["review"], ["rev/ann"])
    assert reviewer("POST", "/$link-decide", said(**same, reviewer="ann")).status_code == 409
    assert parameters(reviewer("POST", "/$link-decide", said(**same, reviewer="ben")))["state"] == ["linked"]
    undone = parameters(reviewer("POST", "/$link-undo", said(one="r0", other="r1", why="two cousins")))
    assert undone["state"] == ["veto"]
    assert "held to be of one person by mistake" in undone["notice"][0]
    assert reviewer("POST", "/$link-decide", said(**same, reviewer="eve")).status_code == 409


def test_a_pair_that_nobody_holds_is_not_found_whether_the_records_exist_or_not(bench: World) -> None:
    reviewer = caller(bench, "rev", roles=(REVIEWER,), purpose="TREAT", organization="Organization/r")
    for other in ("none", "also-none"):
        answer = reviewer("POST", "/$link-decide", said(one="r0", other=other, decision="not-same", why="x"))
        assert answer.status_code == 404
    assert reviewer("POST", "/$link-decide", said(one="r0", other="r1", decision="maybe", why="x")).status_code == 400
    assert reviewer("POST", "/$link-decide", said(one="r0", decision="same", why="x")).status_code == 400
