"""doorway hl7v2 check and feed spec, whatever is on the other side: a bound, a place, a fix, an exit code."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner, Result

from gateway.commands.tree import cli
from tests.support.authority import Authority
from tests.support.mllp import ack, adt, framed

Behaviour: TypeAlias = Callable[[socket.socket], None]
Answer: TypeAlias = Callable[[bytes], bytes]


def doorway(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words), catch_exceptions=False)


@contextmanager
def nasty(behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A listener whose every connection behaves so; its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(5)
            if tls is None:
                behaviour(connection)
            else:
                with tls.wrap_socket(connection, server_side=True) as wrapped:
                    behaviour(wrapped)

    def listen() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


def answering(answer: Answer) -> Behaviour:
    """Answers each message by ``answer``."""

    def behaviour(connection: socket.socket) -> None:
        rest = b""
        while data := connection.recv(65536):
            rest += data
            while b"\x1c\r" in rest:
                frame, rest = rest.split(b"\x1c\r", 1)
                if frame.startswith(b"\x0bMSH"):  # and not the noise of a TLS handshake
                    connection.sendall(answer(frame[1:]))

    return behaviour


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def slow(connection: socket.socket) -> None:
    connection.recv(65536)
    for byte in framed(ack(adt("C1"), "AA")):
        connection.sendall(bytes([byte]))
        time.sleep(0.02)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"\x0bMSH|^~\\&|")
    while True:
        connection.sendall(b"x" * 65536)


def gone(connection: socket.socket) -> None:
    connection.close()


def cut(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(framed(ack(adt("C1"), "AA"))[:30])


def good(message: bytes) -> bytes:
    head = message.split(b"\r")[0].split(b"|")
    return framed(ack(message, "CA" if len(head) > 14 and head[14] == b"AL" else "AA"))


def no_latin(message: bytes) -> bytes:
    refused = b"8859/1" in message.split(b"\r")[0]
    return framed(ack(message, "AR", err=b"ERR||MSH^1^18|103^x^HL70357|E\r")) if refused else good(message)


def found(port: int, *words: str, host: str = "127.0.0.1", timeout_s: float = 2) -> tuple[int, list[dict[str, Any]]]:
    """(exit code, findings that are no notes) of a check; it ends within its bound."""
    started = time.monotonic()
    done = doorway("hl7v2", "check", f"{host}:{port}", "--timeout", str(timeout_s), "--json", *words)
    assert time.monotonic() - started < 8 * timeout_s + 3, "all questions end within eight times the longest wait"
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(one["message"] == f"{host}:{port}" for one in lines)
    return done.exit_code, [one for one in lines if one["severity"] != "note"]


@pytest.mark.parametrize(
    ("behaviour", "place", "problem", "fix"),
    [
        (silent, "one message", "no answer in 0.2 s", "FS CR"),
        (slow, "one message", "began and did not end", "in one piece"),
        (gone, "one message", "", ""),
        (cut, "one message", "closed the connection inside an answer", "the whole answer"),
        (endless, "one message", "does not end", "FS CR"),
        (answering(lambda _: b"hello"), "one message", "outside of a frame", "VT (0B)"),
        (answering(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n"), "one message", "a web server", "port"),
        (answering(lambda _: framed(b"hello")), "one message", "no acknowledgement", "MSH and MSA"),
        (answering(lambda m: framed(ack(m, "XX"))), "one message", "no acknowledgement", "MSH and MSA"),
        (answering(lambda m: framed(ack(m, "AA", control_id=b"9"))), "one message", "control id", "MSA-2 verbatim"),
        (answering(lambda m: framed(ack(m, "AA"))[:-1]), "one message", "FS alone", "1C 0D"),
        (answering(lambda _: framed(b"\x15")), "one message", "could not keep", "log"),
        (answering(lambda m: good(m) * 2), "one message", "answered twice", "one acknowledgement"),
        (
            answering(lambda m: framed(ack(m, "AR", err=b"ERR|||200^zq^HL70357|E\r"))),
            "one message",
            "refused (AR, condition 200)",
            "agree on",
        ),
        (answering(no_latin), "MSH-18 8859/1", "refused (AR, condition 103)", "UNICODE UTF-8"),
        (answering(lambda m: framed(ack(m, "AA"))), "MSH-15 AL, MSH-16 NE", "application", "CA, CE or CR"),
    ],
)
def test_whatever_answers_there_is_told_with_its_place_and_a_fix(
    behaviour: Behaviour, place: str, problem: str, fix: str
) -> None:
    waited_for = "0.2 s" in problem or problem in {"began and did not end", "FS alone"}
    with nasty(behaviour) as port:
        code, wrong = found(port, timeout_s=0.2 if waited_for else 10)
    assert (code, wrong[0]["place"]) == (3, place)
    assert problem in wrong[0]["problem"]
    assert fix in wrong[0]["fix"]
    assert wrong[0]["fix"]
    assert "zq" not in json.dumps(wrong).casefold(), "nothing of an answer is quoted but its codes"


def test_a_good_peer_has_nothing_to_mend_and_a_commit_byte_before_its_answer_is_none() -> None:
    for answer in (good, lambda m: framed(b"\x06") + good(m)):
        with nasty(answering(answer)) as port:
            assert found(port) == (0, [])


def test_an_address_that_is_none_or_where_nobody_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code, wrong = found(port)
    assert (code, wrong[0]["place"], wrong[0]["problem"]) == (3, "connection", "nobody listens there")
    code, wrong = found(port, host="no-such-host.invalid")
    assert (code, wrong[0]["place"]) == (3, "connection")
    for address in ("127.0.0.1:0", "127.0.0.1:99999", ":2575", "[]:1"):
        done = doorway("hl7v2", "check", address)
        assert done.exit_code == 2
        assert "HOST:PORT" in done.stderr
        assert doorway("hl7v2", "send", __file__, "--to", address).exit_code == 2
    assert doorway("hl7v2", "check", "127.0.0.1:1", "--peer", "127.0.0.1:2").exit_code == 2
    assert doorway("hl7v2", "check", "127.0.0.1:1", "--timeout", "0").exit_code == 2
    assert doorway("hl7v2", "check", "no-such-file").exit_code == 2


# -- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def server_side(files: tuple[str, str], *, clients: str = "") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


def test_tls_that_is_not_as_expected_is_told_by_what_is_wrong(authority: Authority) -> None:
    usual = authority.issue("peer")
    trusted = ("--tls", "--ca", authority.file)
    with nasty(answering(good), server_side(usual)) as port:
        assert found(port, *trusted, host="localhost") == (0, [])
        code, wrong = found(port, *trusted)
        assert (code, wrong[0]["place"]) == (3, "connection")
        assert "another name" in wrong[0]["problem"]
        assert "--ca FILE" in found(port, "--tls", host="localhost")[1][0]["fix"]
        _, wrong = found(port)
        assert (wrong[0]["problem"], wrong[0]["fix"]) == ("the peer speaks TLS on this port", "give --tls")
    with nasty(answering(good), server_side(authority.issue("old", until=2021))) as port:
        assert "expired" in found(port, *trusted, host="localhost")[1][0]["problem"]
    with nasty(answering(good), server_side(usual, clients=authority.file)) as port:
        assert "--cert and --key" in found(port, *trusted, host="localhost")[1][0]["fix"]
        cert, key = authority.issue("us")
        assert found(port, *trusted, "--cert", cert, "--key", key, host="localhost") == (0, [])


def greeting(connection: socket.socket) -> None:
    connection.sendall(b"hello" * 9)
    silent(connection)


def _trickling(connection: socket.socket) -> None:
    for byte in b"\x16\x03\x03\x40\x00" + b"x" * 300:  # the beginning of a long TLS record
        connection.sendall(bytes([byte]))
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("behaviour", "problem"),
    [
        (silent, "no TLS handshake in 0.2 s"),
        (_trickling, "no TLS handshake in 0.2 s"),
        (gone, "closed in the TLS handshake"),
        (greeting, "does not speak TLS"),
    ],
)
def test_a_peer_without_tls_ends_the_handshake_in_time(behaviour: Behaviour, problem: str) -> None:
    with nasty(behaviour) as port:
        code, wrong = found(port, "--tls", host="localhost", timeout_s=0.2)
    assert (code, wrong[0]["place"]) == (3, "connection")
    assert problem in wrong[0]["problem"]


def test_files_that_are_no_certificates_are_a_mistake_of_the_user(authority: Authority, tmp_path: Path) -> None:
    text = tmp_path / "x.pem"
    text.write_text("hello")
    cert, _ = authority.issue("one")
    _, other = authority.issue("two")
    for words in (["--ca", str(text)], ["--cert", str(text)], ["--cert", cert, "--key", other], ["--key", other]):
        for command in (["check", "127.0.0.1:1"], ["send", __file__, "--to", "127.0.0.1:1"]):
            done = doorway("hl7v2", *command, "--tls", *words)
            assert done.exit_code == 2
            assert "--cert" in done.stderr


def test_an_answer_without_an_end_does_not_hold_up_who_sends(tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes(adt("T1"))
    with nasty(endless) as port:
        started = time.monotonic()
        sent = doorway("hl7v2", "send", str(tmp_path / "a.hl7"), "--to", f"127.0.0.1:{port}", "--timeout", "0.2")
        assert time.monotonic() - started < 10
    assert sent.exit_code == 1
    assert "no answer in time" in sent.stdout


# -- feed spec -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "/", "../..", "a\n# b", "<script>", "a|b", "x" * 65, "\x1b[2J", "-"])
def test_a_name_that_is_none_writes_no_specification(name: str) -> None:
    done = doorway("feed", "spec", "--", name)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "NAME is" in done.stderr


def test_the_specification_says_which_tables_and_what_is_agreed(tmp_path: Path) -> None:
    settings = tmp_path / "s.toml"
    settings.write_text('[mllp_feeds.west]\nsenders = ["EHR^WEST", "A|B^C"]\ncharset = "8859/1"\nsite = "example"\n')
    said = doorway("feed", "spec", "west", "--config", str(settings)).stdout
    assert "with the overlay example" in said
    assert "| MSH-3.1^MSH-4.1 | EHR^WEST, A\\|B^C |" in said
    assert "| charset whatever MSH-18 says | 8859/1 |" in said
    unknown = doorway("feed", "spec", "exampel")
    assert unknown.exit_code == 0
    assert "no feed and no overlay is named exampel" in unknown.stderr
    assert "Tables: the shipped ones.\n" in unknown.stdout
