"""``doorway hl7v2 check``: messages in files, or a live peer."""

import time
from collections.abc import Callable, Iterator
from typing import IO, Any

import click


@click.command(epilog="Example: doorway hl7v2 check feed.hl7; doorway hl7v2 check --peer 127.0.0.1:2575")
@click.argument("files", nargs=-1, type=click.File("rb"))
@click.option(
    "--peer", metavar="HOST:PORT", help="A listener: connection, framing, answers, charset, acknowledgement modes."
)
@click.option("--tls", is_flag=True, help="Speak TLS to the peer.")
@click.option("--ca", type=click.Path(exists=True), help="Certificates of the authorities to trust (PEM).")
@click.option(
    "--timeout", "timeout_s", default=5.0, show_default=True, help="Longest wait for each answer of the peer, seconds."
)
@click.option("--site", default="", help="Overlay: a name below mappings/sites, or a folder.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding.")
def check(
    files: tuple[IO[bytes], ...],
    peer: str | None,
    tls: bool,
    ca: str | None,
    timeout_s: float,
    site: str,
    as_json: bool,
) -> None:
    """Conformance of message FILES or of a live peer: what is wrong, where, and how to mend it.

    A peer is asked with queries for a person who does not exist, so nothing changes there. Exit code 3 when there are
    errors or warnings.
    """
    import orjson

    if bool(files) == bool(peer):
        raise click.UsageError("give message files, or --peer HOST:PORT")
    found = _of_peer(peer, tls, ca, timeout_s) if peer else _of_files(files, site)
    worst = 0
    for place, finding in found:
        worst += finding["severity"] in ("error", "warning")
        if as_json:
            click.echo(orjson.dumps({"message": place, **finding}).decode())
        else:
            fix = f" ({finding['fix']})" if finding["fix"] else ""
            click.echo(f"{place}: {finding['severity']} {finding['place']}: {finding['problem']}{fix}")
    if worst:
        raise SystemExit(3)


def _of_files(files: tuple[IO[bytes], ...], site: str) -> Iterator[tuple[str, dict[str, str]]]:
    from gateway.adapters.files.hl7v2_tables import load_tables
    from gateway.codecs.er7 import Message
    from gateway.codecs.er7_batch import split_interchange
    from gateway.codecs.hl7_grammar import deviations
    from gateway.kernel.errors import DoorwayError
    from gateway.mapping.hl7v2.check import check_message
    from gateway.mapping.hl7v2.convert import Converter, Feed
    from gateway.settings import read_settings

    settings = read_settings()
    converter, feed = Converter(load_tables(site)), Feed(site, settings.jurisdiction, settings.time_zone)
    seen: dict[bytes, str] = {}
    for file in files:
        interchange = split_interchange(file.read())
        for problem in interchange.problems:
            yield file.name, _finding("warning", "file", problem, "mend the envelope")
        if not interchange.messages:
            yield file.name, _finding("error", "file", "no message in this file", "a message begins with MSH")
        for number, raw in enumerate(interchange.messages, 1):
            place = f"{file.name}:{number}"
            try:
                message = Message.parse(raw)
            except DoorwayError as error:
                yield place, _finding("error", error.at, error.message, error.fix)
                continue
            for one in check_message(message, converter, feed):
                yield place, _finding(one.severity, one.place, one.problem, one.fix)
            for deviation in deviations(message):
                yield (
                    place,
                    _finding("warning", deviation.place, deviation.what, "as the standard of this version says"),
                )
            key = (message.segments[0].raw(3) + "|" + message.segments[0].raw(10)).encode()
            if key in seen and message.segments[0].raw(10):
                yield (
                    place,
                    _finding("warning", "MSH-10", f"the control id of {seen[key]} again", "a control id is used once"),
                )
            seen.setdefault(key, place)


def _finding(severity: str, place: str, problem: str, fix: str) -> dict[str, str]:
    return {"severity": severity, "place": place, "problem": problem, "fix": fix}


# -- a live peer -------------------------------------------------------------------------------------------------------


class _Line:
    """One connection to the peer."""

    def __init__(self, host: str, port: int, timeout_s: float, context: Any) -> None:
        import socket

        from gateway.codecs.mllp import FrameDecoder

        raw = socket.create_connection((host, port), timeout=timeout_s)
        self._socket = context.wrap_socket(raw, server_hostname=host) if context else raw
        self._decoder = FrameDecoder(16 * 1024 * 1024)
        self._timeout_s = timeout_s
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read(self) -> bytes | None:
        """The next frame; None when none comes in time."""
        if self._waiting:
            return self._waiting.pop(0)
        deadline = time.monotonic() + self._timeout_s
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(65536)
            except (TimeoutError, OSError):
                return None
            if not data:
                return None
            self._waiting += [frame.payload for frame in self._decoder.feed(data)]
            if self._waiting:
                return self._waiting.pop(0)
        return None

    def close(self) -> None:
        self._socket.close()


def _query(control_id: str, *, modes: str = "", name: str = "Zqnobody", charset: str = "UNICODE UTF-8") -> bytes:
    """A demographics query for nobody: it changes nothing wherever it arrives."""
    modes = modes or "||"
    sent = time.strftime("%Y%m%d%H%M%S")
    head = f"MSH|^~\\&|DOORWAY|CHECK|||{sent}+0000||QBP^Q22^QBP_Q21|{control_id}|T|2.5.1|{modes}||{charset}"
    encoding = "latin-1" if charset.startswith("8859") else "utf-8"
    return f"{head}\rQPD|Q22^Find Candidates^HL7|{control_id}|@PID.5.1^{name}\rRCP|I|1^RD\r".encode(encoding)


def _of_peer(peer: str, tls: bool, ca: str | None, timeout_s: float) -> Iterator[tuple[str, dict[str, str]]]:
    host, _, port = peer.rpartition(":")
    if not host or not port.isdigit():
        raise click.UsageError("--peer is HOST:PORT")
    context = None
    if tls:
        import ssl

        context = ssl.create_default_context(cafile=ca)

    def opened() -> _Line:
        return _Line(host.strip("[]"), int(port), timeout_s, context)

    try:
        opened().close()
    except OSError as error:
        yield (
            peer,
            _finding(
                "error",
                "connection",
                f"refused or unreachable ({type(error).__name__})",
                "address, port, firewall, TLS",
            ),
        )
        return
    yield (
        peer,
        _finding(
            "note",
            "connection",
            "accepted" + (" with TLS" if tls else " without TLS"),
            "" if tls else "use TLS off this host",
        ),
    )
    for name, probe in _PROBES.items():
        problem, fix = _probed(opened, probe)
        yield (
            peer,
            _finding(
                "warning" if problem else "note", name, problem or "answered as it should", fix if problem else ""
            ),
        )


def _probed(opened: Callable[[], _Line], probe: Callable[[_Line], tuple[str, str]]) -> tuple[str, str]:
    line = None
    try:
        line = opened()
        return probe(line)
    except OSError as error:
        return f"the connection broke ({type(error).__name__})", "see the peer's log"
    finally:
        if line is not None:
            line.close()


def _answers(line: _Line, *ids: str) -> tuple[str, str]:
    """Whether one answer for each id comes, in order."""
    from gateway.codecs.er7 import Message
    from gateway.kernel.errors import DoorwayError

    for number, control_id in enumerate(ids, 1):
        payload = line.read()
        if payload is None:
            return f"no answer to message {number} of {len(ids)}", "answer every frame; see the peer's framing"
        try:
            said = Message.parse(payload).get("MSA-2")
        except DoorwayError as error:
            return f"an answer that is no message: {error.message}", "answer with MSH and MSA"
        if said != control_id:
            return f"answer {number} does not carry the control id asked for", "copy MSH-10 to MSA-2 verbatim"
    return "", ""


def _framed(payload: bytes) -> bytes:
    from gateway.codecs.mllp import encode_frame

    return encode_frame(payload)


def _plainly(line: _Line) -> tuple[str, str]:
    line.write(_framed(_query("C1")))
    return _answers(line, "C1")


def _twice(line: _Line) -> tuple[str, str]:
    line.write(_framed(_query("C2")))
    first = _answers(line, "C2")
    if first[0]:
        return first
    line.write(_framed(_query("C3")))
    return _answers(line, "C3")


def _split(line: _Line) -> tuple[str, str]:
    data = _framed(_query("C4"))
    for piece in (data[:1], data[1:40], data[40:-2], data[-2:-1], data[-1:]):
        line.write(piece)
        time.sleep(0.02)
    return _answers(line, "C4")


def _together(line: _Line) -> tuple[str, str]:
    line.write(_framed(_query("C5")) + _framed(_query("C6")))
    return _answers(line, "C5", "C6")


def _latin(line: _Line) -> tuple[str, str]:
    line.write(_framed(_query("C7", name="Zqnöbödy", charset="8859/1")))
    return _answers(line, "C7")


def _enhanced(line: _Line) -> tuple[str, str]:
    from gateway.codecs.er7 import Message

    line.write(_framed(_query("C8", modes="||AL|NE")))
    payload = line.read()
    if payload is None:
        return "no accept acknowledgement for MSH-15 AL", "enhanced mode: answer CA, CE or CR at once"
    code = Message.parse(payload).get("MSA-1") or ""
    if not code.startswith("C"):
        return "answers MSH-15 AL with an application acknowledgement", "enhanced mode wants CA, CE or CR first"
    return "", ""


_PROBES: dict[str, Callable[[_Line], tuple[str, str]]] = {
    "one message": _plainly,
    "a second message on the same connection": _twice,
    "a message in five packets, FS and CR apart": _split,
    "two messages in one packet": _together,
    "MSH-18 8859/1": _latin,
    "MSH-15 AL, MSH-16 NE": _enhanced,
}
