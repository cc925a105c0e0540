"""doorway hl7v2 send, trace and replay, as they are typed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.commands.tree import cli
from gateway.settings import read_settings
from gateway.wiring import mllp_service, open_store
from tests.support.mllp import ScriptedPeer, ack, adt, framed


def doorway(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words), catch_exceptions=False)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(address, database URL) of a running bridge."""
    url = f"sqlite:///{tmp_path_factory.mktemp('wire')}/s.db"
    settings = read_settings(environment={}, database_url=url, mllp_address="127.0.0.1:0")
    store = open_store(settings)
    service = mllp_service(settings, store)
    yield service.start().removeprefix("mllp on "), url
    service.stop()
    store.close()


def test_a_message_is_sent_traced_and_replayed(gateway: tuple[str, str], tmp_path: Path) -> None:
    address, url = gateway
    file = tmp_path / "a.hl7"
    file.write_bytes(adt("T1", msh="|||AL|AL") + adt("T2", msh="|||AL|AL", mrn="18"))
    sent = doorway("hl7v2", "send", str(file), "--to", address, "--json")
    assert sent.exit_code == 0
    lines = [json.loads(line) for line in sent.stdout.splitlines()]
    assert [(one["control_id"], one["answer"], one["result"]) for one in lines] == [
        ("T1", "CA AA", "accepted"),
        ("T2", "CA AA", "accepted"),
    ]
    traced = json.loads(doorway("trace", "T1", "--database", url, "--json").stdout)["found"][0]
    assert (traced["state"], traced["answered"]) == ("processed", "CA AA")
    patient = next(o for o in traced["attempts"][0]["outputs"] if o.startswith("Patient/"))
    by_output = json.loads(doorway("trace", patient, "--database", url, "--json").stdout)["found"]
    assert [one["id"] for one in by_output] == [traced["id"]]
    assert "processed" in doorway("trace", "T1", "--database", url).stdout
    assert b"Zqvale" in doorway("trace", "T1", "--database", url, "--raw").stdout_bytes
    assert "Zqvale" not in doorway("trace", "T1", "--database", url).stdout
    dry = json.loads(doorway("replay", "T1", "--dry-run", "--database", url, "--json").stdout)
    assert {one["effect"] for one in dry["changes"]} == {"same"}
    again = json.loads(doorway("replay", "T1", "--reason", "asked", "--database", url, "--json").stdout)
    assert (again["state"], again["attempt"]) == ("processed", 2)
    assert again["outputs"] == traced["attempts"][0]["outputs"]
    assert doorway("replay", "T1", "--database", url).exit_code == 2


def test_the_gateway_itself_has_nothing_to_mend(gateway: tuple[str, str]) -> None:
    checked = doorway("hl7v2", "check", gateway[0], "--json")
    found = [json.loads(line) for line in checked.stdout.splitlines()]
    assert [one for one in found if one["severity"] != "note"] == []
    assert (checked.exit_code, len(found)) == (0, 7)


@pytest.mark.parametrize(
    ("said", "result"),
    [
        (lambda m: framed(ack(m, "AE")), "refused"),
        (lambda m: framed(ack(m, "AR")), "refused"),
        (lambda m: framed(ack(m, "AA", control_id=b"9")), "unanswered"),
        (lambda _: b"", "unanswered"),
        (lambda _: None, "unanswered"),
    ],
)
def test_a_missing_wrong_or_negative_answer_is_a_failure(said: object, result: str, tmp_path: Path) -> None:
    peer = ScriptedPeer(said)  # type: ignore[arg-type]
    file = tmp_path / "a.hl7"
    file.write_bytes(adt("T1"))
    sent = doorway("hl7v2", "send", str(file), "--to", "{}:{}".format(*peer.address), "--timeout", "0.3", "--json")
    peer.close()
    assert (sent.exit_code, json.loads(sent.stdout)["result"]) == (1, result)


def test_nobody_there_and_no_message_are_failures_said_in_words(tmp_path: Path) -> None:
    file = tmp_path / "a.hl7"
    file.write_bytes(b"hello")
    sent = doorway("hl7v2", "send", str(file), "--to", "127.0.0.1:9")
    assert sent.exit_code == 1
    assert "no MSH segment" in sent.stdout
    file.write_bytes(adt("T1"))
    assert "nobody answers there" in doorway("hl7v2", "send", str(file), "--to", "127.0.0.1:9").stdout
    assert doorway("hl7v2", "send", str(file), "--to", "nowhere").exit_code == 2
