"""Real messages: every one cut, read in full and kept to the byte, or refused with a reason; nothing crashes."""

import json

import pytest

from gateway.adapters.memory.store import MemoryStore
from gateway.codecs.er7 import Message
from gateway.codecs.er7_batch import split_interchange
from gateway.codecs.hl7_grammar import deviations
from gateway.exchange.ports.inbox import State
from gateway.exchange.receive import Feed, admit_all, judge, prepare
from tests.support.shared import SHARED

assert SHARED is not None
FOLDER = SHARED / "samples" / "hl7v2"
INDEX = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))


def messages() -> list[bytes]:
    return [m for row in INDEX for m in split_interchange((FOLDER / row["path"]).read_bytes()).messages]


@pytest.mark.conformance
def test_every_file_is_cut_into_messages_and_every_message_read_in_full() -> None:
    for row in INDEX:
        raw = (FOLDER / row["path"]).read_bytes()
        found = split_interchange(raw)
        assert found.messages, row["path"]
        for one in found.messages:
            message = Message.parse(one)
            assert message.raw == one
            assert message.tree()
            assert one in raw or raw.startswith((b"\xff\xfe", b"\xfe\xff"))
            deviations(message)


@pytest.mark.conformance
def test_every_message_is_kept_to_the_byte_or_refused_with_a_reason() -> None:
    store = MemoryStore()
    for number, raw in enumerate(messages(), start=1):
        prepared = prepare(raw, Feed(conflict="accept"), now_us=number, ack_id=f"A{number}")
        assert prepared.message == judge(raw, Feed(conflict="accept"), now_us=number, ack_id=f"A{number}").message
        (reply,) = store.write(lambda unit, one=prepared: admit_all(unit, [one]))  # type: ignore[misc]
        with store.reading() as reading:
            found = reading.inbox.get(reply.id)
        assert found is not None
        assert found.body == raw
        assert found.state is State.RECEIVED or found.fault


@pytest.mark.conformance
def test_escapes_of_real_messages_survive_decoding_and_encoding() -> None:
    from gateway.codecs.er7_build import build

    for raw in messages():
        message = Message.parse(raw)
        for segment in message.segments[1:]:
            for number in range(1, len(segment.fields)):
                value = segment.get(number)
                if value and message.delimiters.escape in segment.raw(number) and not segment.field(number).deleted:
                    again = Message.parse(build([("MSH", {9: ("A", "B")}), ("NTE", {3: value})]))
                    assert again.get("NTE-3") == value
