"""Frames: any split of the stream gives the same payloads; real senders' habits; bounds."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codecs.mllp import Frame, FrameDecoder, encode_frame
from gateway.kernel.errors import Malformed

payloads = st.lists(st.binary(min_size=1, max_size=60).filter(lambda b: not set(b) & {0x0B, 0x1C}), max_size=6)


@given(payloads, st.integers(min_value=1, max_value=7))
def test_any_split_of_the_stream_gives_the_same_payloads(messages: list[bytes], step: int) -> None:
    stream = b"".join(encode_frame(m) for m in messages)
    decoder = FrameDecoder(max_bytes=10_000)
    found = [f.payload for i in range(0, len(stream), step) for f in decoder.feed(stream[i : i + step])]
    assert found == messages
    assert decoder.idle


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from([b"\x0b", b"\x1c", b"\r", b"\n", b"MSH|", b"FHS|", b"x", b"\x06"]), max_size=30),
    st.integers(1, 5),
)
def test_noise_is_bounded_and_never_loops(parts: list[bytes], step: int) -> None:
    stream = b"".join(parts)
    decoder, whole = FrameDecoder(max_bytes=50), FrameDecoder(max_bytes=50)
    try:
        list(whole.feed(stream))
        for i in range(0, len(stream), step):
            list(decoder.feed(stream[i : i + step]))
        list(decoder.finish())
    except Malformed:
        return
    assert len(decoder.leftover()) <= 60


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        (b"\x0bMSH|1\x1c\x1c\r\x0bMSH|2\x1c\r", [b"MSH|1", b"MSH|2"]),
        (b"MSH|1\x1c\r\x0bMSH|2\x1c\r", [b"MSH|1", b"MSH|2"]),
        (b"\x0bMSH|1\x1c\x0bMSH|2\x1c\r", [b"MSH|1", b"MSH|2"]),
        (b"\x0bMSH|a\x1cb\x1c\r", [b"MSH|a\x1cb"]),
        (b"\x0b\x0bMSH|1\x1c\r", [b"MSH|1"]),
        (b"\x0bMSH|1\r\x1c\n\x1c\r", [b"MSH|1\r\x1c\n"]),
        (b"\x0b\x06\x1c\r", [b"\x06"]),
    ],
)
def test_habits_of_real_senders(stream: bytes, found: list[bytes]) -> None:
    for step in (1, 2, 1000):
        decoder = FrameDecoder(1000)
        frames = [f for i in range(0, len(stream), step) for f in decoder.feed(stream[i : i + step])]
        assert [f.payload for f in frames if not f.trouble] == found


def test_a_frame_that_begins_again_is_given_up_and_swallows_nothing() -> None:
    decoder = FrameDecoder(1000)
    assert list(decoder.feed(b"\x0bMSH|half\x0bMSH|whole\x1c\r")) == [
        Frame(b"MSH|half", "interrupted", 8),
        Frame(b"MSH|whole", size=9),
    ]


@pytest.mark.parametrize("step", [1, 100, 100_000])
def test_an_oversize_payload_is_passed_over_with_its_head_kept(step: int) -> None:
    stream = b"\x0bMSH|" + b"x" * 9_000 + b"\x1c\r" + encode_frame(b"MSH|next")
    decoder = FrameDecoder(5_000)
    frames = [f for i in range(0, len(stream), step) for f in decoder.feed(stream[i : i + step])]
    assert [(f.trouble, f.size) for f in frames] == [("too-large", 9_004), ("", 8)]
    assert frames[0].payload.startswith(b"MSH|xxx")
    assert len(frames[0].payload) <= 5_002


def test_the_limit_is_exact() -> None:
    for size, trouble in ((5_000, ""), (5_001, "too-large")):
        frames = list(FrameDecoder(5_000).feed(encode_frame(b"x" * size)))
        assert [f.trouble for f in frames] == [trouble]


def test_bytes_outside_a_frame_are_out_of_step() -> None:
    with pytest.raises(Malformed):
        list(FrameDecoder(100).feed(b"GET / HTTP/1.1\r\n\r\n"))


def test_silence_after_fs_ends_the_frame() -> None:
    decoder = FrameDecoder(100)
    assert list(decoder.feed(b"\x0bMSH|1\x1c")) == []
    assert decoder.ends_with_fs
    assert [f.payload for f in decoder.finish()] == [b"MSH|1"]
    assert list(decoder.feed(b"\r")) == []
    assert decoder.idle


def test_a_payload_at_the_limit_is_held_once() -> None:
    """Twice the limit is what a connection may cost; a buffer and a copy of it would be more than that."""
    limit = 1 << 20
    stream = encode_frame(b"MSH|" + b"x" * (limit - 4))
    decoder, found = FrameDecoder(limit), list[Frame]()
    tracemalloc.start()
    for start in range(0, len(stream), 65_536):
        found += decoder.feed(stream[start : start + 65_536])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [len(frame.payload) for frame in found] == [limit]
    assert peak < 1.5 * limit


@given(st.lists(st.sampled_from([b"\x0b", b"\x1c", b"\r", b"MSH|", b"x"]), max_size=12))
def test_one_whole_frame_is_told_at_once_and_nothing_else_is(parts: list[bytes]) -> None:
    data = b"".join(parts)
    told, decoder = FrameDecoder(50).whole(data), FrameDecoder(50)
    try:
        frames = list(decoder.feed(data))
    except Malformed:
        frames = []
    if told is not None:
        assert [frame.payload for frame in frames] == [told.rstrip(b"\x1c") if told.endswith(b"\x1c") else told]
        assert decoder.idle
