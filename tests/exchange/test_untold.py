"""A Consent on our form permits nothing once what the client was told is not on record any more; its denials hold."""

from datetime import UTC, datetime

import orjson
import pytest

from gateway import wiring
from gateway.adapters.files.data import read_data
from gateway.consent.forms import recorded, untold
from gateway.consent.lint import lint
from gateway.consent.request import AccessRequest
from gateway.exchange.agreements import agree
from gateway.exchange.consent_forms import read_forms
from gateway.exchange.disclose import Gate
from gateway.exchange.ports.resources import Draft, Stored
from gateway.exchange.ports.store import Store
from gateway.exchange.search import parse_query
from gateway.exchange.search_run import search
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import JsonObject
from gateway.settings import Settings
from tests.consent.build import actor, consent, label, purposes

SETTINGS = Settings()
SAVER = wiring.saver(SETTINGS)
KNOWLEDGE = wiring.consent_knowledge(SETTINGS)
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ASKER = "Organization/h"
(FORM, *_) = read_forms(read_data)
RESPONSE: JsonObject = recorded(FORM, "Patient/p") | {"id": "q"}
PERMIT = {"type": "permit", "actor": [actor(ASKER)], "purpose": purposes("TREAT")}
SIGNED = consent(PERMIT, policy=[{"uri": FORM.canonical}], sourceReference={"reference": "QuestionnaireResponse/q"})
SECRET = {"resourceType": "Condition", "id": "s", "subject": {"reference": "Patient/p"}, "code": {"text": "x"}}
PLAIN = SECRET | {"id": "d"}


def save(store: Store, *resources: JsonObject, at: int) -> None:
    drafts = [Draft(one, source="agency", labels=(label("SDV"),) if one is SECRET else None) for one in resources]
    store.write(lambda unit: SAVER.save(unit, drafts, now_us=at))


def delete(store: Store, id_: str, at: int) -> None:
    def work(unit: object) -> None:
        gone = unit.resources.delete("QuestionnaireResponse", id_, now_us=at, source="agency")  # type: ignore[attr-defined]
        SAVER.deleted(unit, gone, now_us=at)  # type: ignore[arg-type]

    store.write(work)


def seen(store: Store) -> list[str]:
    """What the asker is shown of the Conditions, by a look at each and by a search."""
    request = AccessRequest.of_organization(ASKER, now=NOW)
    with store.reading() as reading:
        every = list(reading.resources.of_type("Condition"))
        gate = Gate(reading.resources, request, KNOWLEDGE)
        query = parse_query("Condition", [("subject", "Patient/p")], wiring.search_definitions())
        found = [one.id for one in search(reading.resources, query, gate).matches]
        assert sorted(found) == sorted(one.id for one in gate.release(every).resources)
    assert KNOWLEDGE.disagreements.count == 0
    return sorted(found)


def signed(store: Store) -> Stored:
    with store.reading() as reading:
        (one,) = (one for one in reading.resources.consents(["Patient/p"]) if one.id == "c")
    return one


def test_a_record_that_is_changed_or_deleted_takes_the_permission_along_until_it_is_there_again(store: Store) -> None:
    store.write(lambda unit: agree(unit.resources, ASKER, since="2020-01-01", now_us=1))
    denying = consent({"type": "deny", "securityLabel": [label("SDV")]}, id_="c2")
    save(store, {"resourceType": "Patient", "id": "p", "name": [{"family": "Zq"}]}, RESPONSE, SIGNED, at=2)
    save(store, PLAIN, SECRET, at=3)
    assert seen(store) == ["d", "s"]
    save(store, RESPONSE | {"item": RESPONSE["item"][1:]}, at=4)
    assert seen(store) == []
    marked = orjson.loads(signed(store).body)
    assert untold(marked)
    found = lint([KNOWLEDGE.program(signed(store)).directive], KNOWLEDGE.vocabulary, 0)
    assert [one.rule for one in found].count("untold") == 1
    with pytest.raises(Invalid):  # nobody makes it count again by writing it anew
        save(store, SIGNED, at=5)
    save(store, RESPONSE, at=6)
    assert seen(store) == ["d", "s"]
    assert not untold(orjson.loads(signed(store).body))
    save(store, denying, at=7)
    assert seen(store) == ["d"]
    delete(store, "q", 8)
    assert seen(store) == []
    save(store, RESPONSE, at=9)
    assert seen(store) == ["d"]


def test_denials_of_a_consent_whose_record_is_gone_hold(store: Store) -> None:
    store.write(lambda unit: agree(unit.resources, ASKER, since="2020-01-01", now_us=1))
    partly = PERMIT | {"provision": [{"type": "deny", "securityLabel": [label("SDV")]}]}
    save(store, {"resourceType": "Patient", "id": "p"}, RESPONSE, SIGNED | {"provision": partly}, at=2)
    save(store, consent(PERMIT, id_="c2", organization=[{"reference": "Organization/b"}]), PLAIN, SECRET, at=3)
    assert seen(store) == ["d"]
    delete(store, "q", 4)
    assert seen(store) == ["d"]
