"""What a hidden record in a person's cluster changes of what is shown of the visible ones: nothing but one absence.

Two visible records of one person are linked; a third, hidden from the asker, lies between them in time. Whoever it is
(the same person, a twin, somebody else under the same name), every door shows the same bytes. One thing a hidden record
can do: where it was joined with one of the two and contradicts the other, the two are not joined by themselves but
wait for a person (gateway/README.md says why that stays so). Then no link is shown, and nothing else differs.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from gateway import wiring
from gateway.adapters.memory.store import MemoryStore
from gateway.exchange.ports.resources import Draft
from gateway.kernel.fhir import JsonObject
from gateway.settings import Settings
from tests.adapters.http.conftest import Caller, Http, token_for
from tests.exchange.test_non_interference import (
    EPOCH_US,
    HOSPITAL,
    OTHERS,
    PERMIT,
    TWIN,
    answer,
    consent,
    person,
)  # fmt: skip
from tests.support.stores import DERIVED

SSN: Final = "http://hl7.org/fhir/sid/us-ssn"
ZQ: Final[JsonObject] = TWIN[0] | {"telecom": [{"system": "phone", "value": "555-201-7788"}]}
ONE: Final = person(0, **ZQ | {"identifier": [{"system": "urn:a", "value": "1"}]})
OTHER: Final = person(1, **ZQ | {"identifier": [{"system": SSN, "value": "536228743"}]})


def third(**more: Any) -> JsonObject:
    return person(30, **ZQ | {"identifier": [{"system": "urn:c", "value": "9"}]} | more)


HIDDEN: Final[Mapping[str, JsonObject]] = {
    "the same person": third(identifier=[{"system": SSN, "value": "536228743"}]),
    "a twin": third(name=[{"family": "Zqvandermeer", "given": ["Bruno"]}], gender="male"),
    "somebody born at another time": third(birthDate="1991-12-12"),
    "a namesake elsewhere": third(address=[], telecom=[]),
}
CONTRADICTS: Final = third(identifier=[{"system": SSN, "value": "412907731"}])
ASKED: Final[JsonObject] = {
    "resourceType": "Parameters",
    "parameter": [{"name": "resource", "resource": {k: v for k, v in OTHER.items() if k != "id"}}],
}
DOORS: Final = (
    ("GET", "/Patient/p0", None), ("GET", "/Patient/p1", None), ("GET", "/Patient/p0/_history", None),
    ("GET", "/Patient", None), ("GET", "/Patient?link=Patient/p1", None), ("GET", "/Patient?link:missing=true", None),
    ("GET", "/Patient/p0/$everything", None), ("GET", "/Patient?_include=Patient:link&_id=p0", None),
    ("GET", f"/Patient/$ihe-pix?sourceIdentifier={SSN}%7C536228743", None), ("POST", "/Patient/$match", ASKED),
    ("GET", "/Person", None), ("GET", "/Person?link=Patient/p0", None),
)  # fmt: skip


@contextmanager
def gateway(folder: Path, hidden: JsonObject | None) -> Iterator[Caller]:
    """A gateway with the two visible records, the hidden one having come between them."""
    store, saver = MemoryStore(DERIVED.view), wiring.saver(Settings())
    store.write(lambda unit: unit.clients.keep_secret("cursor", bytes(32)))
    seen = [(ONE, "hmis"), (consent(0, PERMIT), "hmis"), (OTHER, "hospital"), (consent(1, PERMIT), "hospital")]
    between = [] if hidden is None else [(hidden, "third"), (consent(30, OTHERS), "third")]
    at = {one["id"]: EPOCH_US + n * 1_000_000 for n, (one, _) in enumerate(seen)}
    for resource, source in (*seen[:2], *between, *seen[2:]):
        draft, when = Draft(resource, source=source), at.get(resource["id"], EPOCH_US + 1_500_000)
        store.write(lambda unit, d=draft, us=when: saver.save(unit, [d], now_us=us))  # type: ignore[misc]
    built = wiring.build_app(Settings(data_folder=str(folder)), store)
    http = Http(built.app)
    yield Caller(http, token_for(store, "ehr", HOSPITAL))
    http.close()
    built.executor.shutdown()


def shown(caller: Caller) -> list[tuple[int, dict[str, str], bytes]]:
    return [answer(caller, method, path, body) for method, path, body in DOORS]


def test_a_hidden_record_of_whomever_changes_nothing_of_what_is_shown(tmp_path: Path) -> None:
    with gateway(tmp_path, None) as caller:
        without = shown(caller)
    assert b'"Patient/p1"' in without[0][2]  # the two are linked
    for who, record in HIDDEN.items():
        with gateway(tmp_path, record) as caller:
            found = shown(caller)
        assert [DOORS[n][1] for n, pair in enumerate(zip(without, found, strict=True)) if pair[0] != pair[1]] == [], who


@pytest.mark.parametrize("door", [0, 1, 2, 9])
def test_a_hidden_contradiction_shows_as_a_link_that_is_not_there_and_as_nothing_else(
    door: int, contradicted: tuple[list[Any], list[Any]]
) -> None:
    without, found = contradicted
    assert without[door][0] == found[door][0] == 200
    assert unlinked(without[door][2]) == unlinked(found[door][2])
    assert b"p30" not in b"".join(body for _, _, body in found)


@pytest.fixture(scope="module")
def contradicted(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], list[Any]]:
    """What both gateways say where the hidden record contradicts one of the two."""
    folder = tmp_path_factory.mktemp("links")
    with gateway(folder, None) as one, gateway(folder, CONTRADICTS) as other:
        return shown(one), shown(other)


def unlinked(body: bytes) -> Any:
    """The JSON without the links of Patients."""

    def cut(node: Any) -> Any:
        if isinstance(node, dict):
            own = node.get("resourceType") == "Patient"
            return {k: cut(v) for k, v in node.items() if not (own and k == "link")}
        return [cut(one) for one in node] if isinstance(node, list) else node

    return cut(orjson.loads(body))
