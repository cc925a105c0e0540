"""A live MLLP peer, asked by ``doorway hl7v2 check``: address, TLS, framing, answers, charset, modes.

Nothing that the other side does can hold it up: each step has a deadline of its own however the bytes trickle in, an
answer has a longest size, and all questions together have a bound. What is found is a sentence with a place and a fix;
nothing of an answer is quoted but its codes.
"""

import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import click

if TYPE_CHECKING:
    import ssl

    from gateway.codecs.ack import Acknowledged

ANSWER_LIMIT_BYTES: Final = 1024 * 1024  # far more than any acknowledgement
_ALL_TIMEOUTS: Final = 8  # all questions together end within so many times the longest wait
_AGAIN_S: Final = 0.3  # a second answer to one message comes at once, if it does
_CONDITION: Final = re.compile(r"\d{3}")
_EXPIRED, _EARLY, _OTHER_NAMES = 10, 9, (62, 64)  # OpenSSL's verification errors
_UNKNOWN_ISSUERS: Final = (18, 19, 20, 21)


class Told(NamedTuple):
    """One finding: severity ``note``, ``warning`` or ``error``, what was looked at, what is wrong, how to mend it."""

    severity: str
    place: str
    problem: str
    fix: str = ""


class Trouble(Exception):
    """The peer cannot be asked on: what it did, and what to do."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix


def peer_address(text: str, option: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``; brackets of an IPv6 address are taken off.

    Raises:
        UsageError: it is not that; the sentence names ``option``.
    """
    host, _, port = text.rpartition(":")
    if not host.strip("[]") or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65_536:
        raise click.UsageError(f"{option} is HOST:PORT, the port from 1 to 65535")
    return host.strip("[]"), int(port)


def tls_context(ca: str | None, cert: str | None, key: str | None) -> "ssl.SSLContext":
    """A client's TLS, 1.2 or newer, that checks the other side; with its own certificate where one is given.

    Raises:
        UsageError: a file that holds no certificate, or a key that does not fit.
    """
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if cert:
            context.load_cert_chain(cert, key, password=_no_password)
        elif key:
            raise click.UsageError("--key needs --cert: the certificate that it belongs to")
    except (OSError, ValueError):
        raise click.UsageError("--ca, --cert and --key are PEM files, the key without password and fitting") from None
    return context


def _no_password() -> str:
    raise ValueError


def ask(host: str, port: int, *, timeout_s: float, tls: "ssl.SSLContext | None") -> Iterator[Told]:
    """What is found of the peer, from the connection on; queries for a person who does not exist change nothing there.

    Args:
        timeout_s: longest wait for the connection, for the TLS handshake and for each answer.
    """
    ends = time.monotonic() + _ALL_TIMEOUTS * timeout_s
    try:
        _Line(host, port, timeout_s, tls).close()
    except Trouble as trouble:
        yield Told("error", "connection", trouble.problem, trouble.fix)
        return
    with_tls = tls is not None
    yield Told(
        "note",
        "connection",
        f"accepted with{'' if with_tls else 'out'} TLS",
        "" if with_tls else "use TLS off this host",
    )
    usual = ""
    for name, probe in _PROBES.items():
        if time.monotonic() > ends:
            yield Told(
                "warning", name, "not asked: the peer took too long before", "mend what is said above, ask again"
            )
            return
        line = None
        try:
            line = _Line(host, port, timeout_s, tls)
            problem, fix = probe(line, usual)
        except Trouble as trouble:
            problem, fix = trouble.problem, trouble.fix
            first = probe is _plainly
            heard = line is not None and line.heard
            if first and not heard and tls is None and _speaks_tls(host, port, timeout_s):
                problem, fix = "the peer speaks TLS on this port", "give --tls"
            yield Told("error" if first else "warning", name, problem, fix)
            if first:
                yield Told("note", "the other questions", "not asked: the first was not answered")
                return
            continue
        finally:
            if line is not None:
                line.close()
        if probe is _plainly:
            usual = line.refused
        yield Told("warning", name, problem, fix) if problem else Told("note", name, "answered as it should")


class _Line:
    """One connection to the peer."""

    def __init__(self, host: str, port: int, timeout_s: float, tls: "ssl.SSLContext | None") -> None:
        from gateway.codecs.mllp import FrameDecoder

        self._timeout_s = timeout_s
        self._socket: socket.socket = _connected(host, port, timeout_s)
        if tls is not None:
            try:
                self._socket = _with_tls(self._socket, tls, host, timeout_s)
            except BaseException:
                self._socket.close()
                raise
        self._decoder = FrameDecoder(ANSWER_LIMIT_BYTES)
        self._frames: list[bytes] = []
        self.heard = False  # whether anything came
        self.refused = ""  # how the last answer refused, in codes; empty: it did not

    def write(self, data: bytes) -> None:
        """Send bytes as they are.

        Raises:
            Trouble: the peer is gone, or takes nothing.
        """
        self._socket.settimeout(self._timeout_s)
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise _broken(error, self._timeout_s) from None

    def read(self) -> bytes:
        """The payload of the next answer; commit bytes of MLLP release 2 are passed over.

        Raises:
            Trouble: none came, or what came is none.
        """
        from gateway.codecs.mllp import COMMIT_ACK, COMMIT_NAK
        from gateway.kernel.errors import Malformed

        deadline, came = time.monotonic() + self._timeout_s, 0
        while True:
            while self._frames:
                payload = self._frames.pop(0)
                if payload == COMMIT_NAK:
                    raise Trouble("the peer says that it could not keep the message (commit byte 15)", "see its log")
                if payload != COMMIT_ACK:
                    return payload
            data = self._received(deadline, came)
            self.heard, came = True, came + len(data)
            if came > ANSWER_LIMIT_BYTES:
                raise Trouble("an answer of more than a megabyte that does not end", "end each answer with FS CR")
            try:
                self._frames += [frame.payload for frame in self._decoder.feed(data)]
            except Malformed:
                raise _no_frame(self._decoder.leftover()) from None

    def _received(self, deadline: float, came: int) -> bytes:
        left = deadline - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            data = self._socket.recv(65536)
        except TimeoutError:
            if self._decoder.ends_with_fs:
                raise Trouble("an answer ends with FS alone", "end each answer with FS CR (1C 0D)") from None
            if came:
                problem = f"an answer began and did not end in {self._timeout_s:g} s"
                raise Trouble(problem, "send each answer in one piece, with FS CR (1C 0D) at its end") from None
            problem = f"no answer in {self._timeout_s:g} s"
            raise Trouble(problem, "answer every frame; does the peer look for VT (0B) and FS CR (1C 0D)?") from None
        except OSError as error:
            raise _broken(error, self._timeout_s) from None
        if not data:
            raise Trouble(
                "the peer closed the connection " + ("inside an answer" if came else "without an answer"),
                "answer before closing; does it take this sender, and without TLS?"
                if not came
                else "send the whole answer, then close",
            )
        return data

    def another(self) -> bool:
        """Whether one more answer comes at once."""
        self._timeout_s, whole = min(_AGAIN_S, self._timeout_s), self._timeout_s
        try:
            return bool(self.read())
        except Trouble:
            return False
        finally:
            self._timeout_s = whole

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()


def _connected(host: str, port: int, timeout_s: float) -> socket.socket:
    try:
        made = socket.create_connection((host, port), timeout=timeout_s)
    except (socket.gaierror, UnicodeError):
        raise Trouble("the name of the host is not known", "check the name, or give the address") from None
    except TimeoutError:
        raise Trouble(f"no connection in {timeout_s:g} s", "check address, port and firewall") from None
    except ConnectionRefusedError:
        raise Trouble("nobody listens there", "check address and port; is the listener running?") from None
    except OSError as error:
        raise Trouble(f"unreachable ({type(error).__name__})", "check address, route and firewall") from None
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _with_tls(plain: socket.socket, context: "ssl.SSLContext", host: str, timeout_s: float) -> "ssl.SSLSocket":
    import ssl

    from gateway.adapters.mllp.client import shake_hands

    try:
        return shake_hands(plain, context, host, timeout_s)
    except ssl.SSLCertVerificationError as error:
        raise _distrusted(error.verify_code) from None
    except TimeoutError:
        problem = f"no TLS handshake in {timeout_s:g} s"
        raise Trouble(problem, "does the peer speak TLS on this port? if not, leave out --tls") from None
    except OSError as error:
        raise _broken(error, timeout_s, shaking=True) from None


def _speaks_tls(host: str, port: int, timeout_s: float) -> bool:
    """Whether a port that did not answer a message takes part in a TLS handshake; trusted or not."""
    import ssl

    from gateway.adapters.mllp.client import shake_hands

    try:
        shake_hands(_connected(host, port, timeout_s), ssl.create_default_context(), host, timeout_s).close()
    except ssl.SSLCertVerificationError:
        return True
    except (OSError, Trouble):
        return False
    return True


def _distrusted(code: int) -> Trouble:
    """What is wrong with the certificate, by OpenSSL's number."""
    if code == _EXPIRED:
        return Trouble("its certificate has expired", "the peer has to renew it")
    if code == _EARLY:
        return Trouble("its certificate is not valid yet", "check the clocks of both sides")
    if code in _OTHER_NAMES:
        return Trouble("its certificate is for another name", "connect by the name in it, or have that name put in")
    if code in _UNKNOWN_ISSUERS:
        return Trouble("its certificate is of no authority that is trusted here", "give the authority with --ca FILE")
    return Trouble(f"its certificate is not accepted (OpenSSL {code})", "check it with the peer's owner")


def _broken(error: OSError, timeout_s: float, *, shaking: bool = False) -> Trouble:
    """A failure of the connection, in words: of TLS by its reason, never by the library's text."""
    import ssl

    reason = (getattr(error, "reason", "") or "") if isinstance(error, ssl.SSLError) else ""
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        return Trouble("the peer does not accept our certificate, or wants one", "give --cert and --key that it knows")
    if "PROTOCOL_VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
        return Trouble("the peer speaks no TLS 1.2 or newer", "switch TLS 1.2 on there")
    if "HANDSHAKE_FAILURE" in reason or "NO_SHARED_CIPHER" in reason:
        return Trouble("no cipher or certificate that both sides know", "give --cert and --key, or add ciphers there")
    if shaking and isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return Trouble("the peer does not speak TLS", "leave out --tls, or switch TLS on there")
    if shaking:
        return Trouble("the peer closed in the TLS handshake", "does it speak TLS, and does it want --cert and --key?")
    if isinstance(error, TimeoutError):
        return Trouble(f"the peer took no bytes for {timeout_s:g} s", "is it overloaded? see its log")
    fix = "see the peer's log: does it take this sender, and does it want TLS, or --cert and --key?"
    return Trouble(f"the connection broke ({type(error).__name__})", fix)


def _no_frame(bytes_: bytes) -> Trouble:
    """An answer outside of a frame: of what kind of server it is."""
    if bytes_[:5] == b"HTTP/":
        return Trouble("a web server answers", "is this the port of the MLLP listener?")
    return Trouble("an answer outside of a frame", "frame every answer: VT (0B), message, FS CR (1C 0D)")


# -- questions ---------------------------------------------------------------------------------------------------------


def _query(control_id: str, *, modes: str = "", name: str = "Zqnobody", charset: str = "UNICODE UTF-8") -> bytes:
    """A demographics query for nobody, framed: it changes nothing wherever it arrives."""
    from gateway.codecs.mllp import encode_frame

    sent = time.strftime("%Y%m%d%H%M%S", time.gmtime())
    head = f"MSH|^~\\&|DOORWAY|CHECK|||{sent}+0000||QBP^Q22^QBP_Q21|{control_id}|T|2.5.1|{modes or '|||'}||{charset}"
    encoding = "latin-1" if charset.startswith("8859") else "utf-8"
    person = f"@PID.5.1^{name}~@PID.5.2^Check~@PID.7^19010101~@PID.13.1^(204) 555-0142"
    person += "~@PID.11.1^1 Nowhere Lane~@PID.11.3^Nowhere"  # some want more than a name
    text = f"{head}\rQPD|Q22^Find Candidates^HL7|{control_id}|{person}\rRCP|I|1^RD\r"
    return encode_frame(text.encode(encoding))


def _acknowledged(payload: bytes) -> "Acknowledged | tuple[str, str]":
    """What an answer says; or problem and fix when it is none."""
    from gateway.codecs.ack import read_acknowledgement
    from gateway.kernel.errors import DoorwayError

    try:
        return read_acknowledgement(payload)
    except DoorwayError as error:
        return f"an answer that is no acknowledgement: {error.message}", "answer with MSH and MSA"


def _refusal_in(said: "Acknowledged") -> str:
    """Codes of a refusal; empty when it is none."""
    if said.code[1] == "A":
        return ""
    conditions = [one for one in said.conditions if _CONDITION.fullmatch(one)]
    return ", ".join([said.code, *(f"condition {one}" for one in conditions)])


def _answers(line: _Line, *ids: str) -> tuple[str, str]:
    """Whether one answer for each id comes, in order."""
    for number, control_id in enumerate(ids, 1):
        try:
            payload = line.read()
        except Trouble as trouble:
            if len(ids) == 1:
                raise
            return f"message {number} of {len(ids)}: {trouble.problem}", trouble.fix
        said = _acknowledged(payload)
        if isinstance(said, tuple):
            return said
        if said.control_id != control_id:
            return f"answer {number} does not carry the control id asked for", "copy MSH-10 to MSA-2 verbatim"
        line.refused = _refusal_in(said)
    return "", ""


def _plainly(line: _Line, _usual: str) -> tuple[str, str]:
    line.write(_query("C1"))
    found = _answers(line, "C1")
    if not found[0] and line.another():
        return "answered twice", "one acknowledgement a message where MSH-15 and MSH-16 are empty"
    if not found[0] and line.refused:
        return (
            f"the query is refused ({line.refused}); whether other messages are taken is not told",
            "agree on MSH-3 to MSH-6, MSH-11 and MSH-12 and on the message types with the peer",
        )
    return found


def _twice(line: _Line, _usual: str) -> tuple[str, str]:
    line.write(_query("C2"))
    first = _answers(line, "C2")
    if first[0]:
        return first
    line.write(_query("C3"))
    return _answers(line, "C3")


def _split(line: _Line, _usual: str) -> tuple[str, str]:
    data = _query("C4")
    for piece in (data[:1], data[1:40], data[40:-2], data[-2:-1], data[-1:]):
        line.write(piece)
        time.sleep(0.02)
    return _answers(line, "C4")


def _together(line: _Line, _usual: str) -> tuple[str, str]:
    line.write(_query("C5") + _query("C6"))
    return _answers(line, "C5", "C6")


def _latin(line: _Line, usual: str) -> tuple[str, str]:
    line.write(_query("C7", name="Zqnöbödy", charset="8859/1"))
    found = _answers(line, "C7")
    if not found[0] and line.refused and line.refused != usual:
        return f"messages in this charset are refused ({line.refused})", "have it read MSH-18, or send it UNICODE UTF-8"
    return found


def _enhanced(line: _Line, _usual: str) -> tuple[str, str]:
    line.write(_query("C8", modes="||AL|NE"))
    try:
        payload = line.read()
    except Trouble as trouble:
        return f"no accept acknowledgement for MSH-15 AL: {trouble.problem}", "answer CA, CE or CR at once"
    said = _acknowledged(payload)
    if isinstance(said, tuple):
        return said
    if not said.code.startswith("C"):
        return "answers MSH-15 AL with an application acknowledgement", "enhanced mode wants CA, CE or CR first"
    return "", ""


_PROBES: Final[dict[str, Callable[[_Line, str], tuple[str, str]]]] = {
    "one message": _plainly,
    "a second message on the same connection": _twice,
    "a message in five packets, FS and CR apart": _split,
    "two messages in one packet": _together,
    "MSH-18 8859/1": _latin,
    "MSH-15 AL, MSH-16 NE": _enhanced,
}
