"""What leaves by itself tells no more than an answer: bulk files, and messages of the outbox, over the same twins."""

import re
from collections.abc import Iterator
from pathlib import Path

from gateway import wiring
from gateway.exchange.ports.outbox import OutState
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store
from gateway.kernel.fhir import JsonObject
from gateway.settings import Settings
from tests.adapters.http.conftest import Caller
from tests.exchange.test_non_interference import EPOCH_US, HOSPITAL, Twins, postgres_pair, ref, twins  # noqa: F401
from tests.support.mllp import ScriptedPeer, ack, framed

EXPORTS = (
    "/$export",
    "/Patient/$export",
    "/Group/g/$export",
    "/$export?_type=Observation,Condition,Provenance,Binary,Person,Contract",
    "/Patient/$export?_since=2026-01-01T00:00:40Z",
)
GROUP: JsonObject = {
    "resourceType": "Group",
    "id": "g",
    "type": "person",
    "actual": True,
    "member": [{"entity": ref(f"Patient/p{n}")} for n in (0, 1, 7, 20, 21, 99)],
}


def exported(caller: Caller, path: str) -> Iterator[tuple[str, str]]:
    """(name, text) of the manifest and of every file; addresses and the time of the kick-off stand apart."""
    begun = caller("GET", path, Prefer="respond-async", X_Request_Id="r-1")
    yield "kick-off", f"{begun.status_code} {begun.text}"
    if begun.status_code != 202:
        return
    job = begun.headers["content-location"].removeprefix("http://gateway.test/fhir")
    manifest = caller("GET", job, X_Request_Id="r-2")
    found = re.sub(r'"transactionTime":"[^"]*"', "", manifest.text)
    yield "manifest", re.sub(r"_export/[A-Za-z0-9_-]+", "_export", found)
    for one in manifest.json()["output"]:
        file = caller("GET", one["url"].removeprefix("http://gateway.test/fhir"), X_Request_Id="r-3")
        yield one["type"], f"{file.status_code} {file.text}"
    for type_ in ("Person", "Contract", "Consent"):
        guessed = caller("GET", f"{job}/{type_}.ndjson", X_Request_Id="r-4")
        yield f"guessed {type_}", f"{guessed.status_code} {guessed.text}"


def test_bulk_files_tell_nothing_of_what_is_hidden(twins: Twins) -> None:  # noqa: F811
    own = Draft(GROUP, source="ehr")  # the asker's own list, which names hidden people and people who do not exist
    for store in twins.stores:
        store.write(lambda unit: unit.resources.put(own, now_us=EPOCH_US))
    lines = 0
    for path in EXPORTS:
        less, more = (list(exported(caller, path)) for caller in (twins.less, twins.more))
        assert less == more, path
        lines += sum(text.count("\n") for _, text in less)
    assert lines > 50


REFERRAL: JsonObject = {
    "resourceType": "ServiceRequest",
    "id": "ref1",
    "status": "active",
    "intent": "order",
    "subject": ref("Patient/p1"),
    "requester": ref("Organization/shelter"),
    "performer": [ref(HOSPITAL)],
    "code": {"text": "housing"},
    "authoredOn": "2026-03-03",
    "reasonReference": [ref("Condition/d1"), ref("Condition/d1x")],
    "supportingInfo": [ref("Observation/o1x"), ref("Observation/o1"), ref("Encounter/e20")],
}
HIDDEN_REFERRAL = {**REFERRAL, "id": "ref2", "subject": ref("Patient/p20")}


def sent(store: Store, folder: Path, drafts: list[Draft]) -> list[bytes]:
    """What a partner receives of changes in a store, and how each delivery ended."""
    peer = ScriptedPeer(lambda message: framed(ack(message, "AA")))
    west = {"address": "{}:{}".format(*peer.address), "organization": HOSPITAL}
    settings = Settings(data_folder=str(folder), mllp_destinations={"west": west})
    saver = wiring.saver(settings)
    for number, draft in enumerate(drafts):
        at = EPOCH_US + 900_000_000 + number
        store.write(lambda unit, d=draft, at=at: saver.save(unit, [d], now_us=at))  # type: ignore[misc]
    ((_, sender),) = wiring.mllp_senders(settings, store)
    for _ in range(4):
        sender.turn()
    sender.close()
    peer.close()
    with store.reading() as reading:
        ended = {kind: len(list(reading.outbox.in_state(kind))) for kind in OutState}
    assert ended[OutState.DELIVERED] == 2
    return list(peer.received)


def test_messages_of_the_outbox_tell_nothing_of_what_is_hidden(twins: Twins, tmp_path: Path) -> None:  # noqa: F811
    changed = {**REFERRAL, "priority": "urgent"}
    label = ({"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "N"},)
    seen = [Draft(one, source="shelter", labels=label) for one in (REFERRAL, changed)]
    hidden = [Draft(HIDDEN_REFERRAL, source="elsewhere", labels=label)]
    less, more = (
        sent(store, tmp_path, drafts) for store, drafts in zip(twins.stores, (seen, seen + hidden), strict=True)
    )
    assert less == more
    assert len(less) == 2
