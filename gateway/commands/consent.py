"""``doorway consent …``."""

import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import click

from gateway.commands.unbuilt import unbuilt


@click.group()
def consent() -> None:
    """Consent: decide, explain, what-if, lint, expiring."""


def vocabulary() -> Any:
    """The hierarchies of terminology/consent."""
    from gateway.adapters.files.data import read_data
    from gateway.exchange.disclose import read_vocabulary_from

    return read_vocabulary_from(read_data)


def _decisions(lines: BinaryIO) -> Iterator[tuple[dict[str, Any], bool]]:
    """Each line's decision, or what is wrong with it, and whether it was a request."""
    import orjson

    from gateway.consent.decide import decide
    from gateway.kernel.errors import DoorwayError

    words = vocabulary()
    for line in lines:
        if not line.strip():
            continue
        id_: Any = None
        try:
            question = orjson.loads(line)
            id_ = question.get("id") if isinstance(question, dict) else None
            yield decide(question, words), True
        except orjson.JSONDecodeError as error:
            yield {"id": None, "error": f"line: not JSON at character {error.pos}"}, False
        except DoorwayError as error:
            yield {"id": id_, "error": str(error)}, False
        except Exception as error:
            # one hostile line must not end the stream of the others; it gets no decision, so nothing is let out
            yield {"id": id_, "error": f"line: cannot be decided ({type(error).__name__})"}, False


@consent.command(epilog="Example: doorway consent decide < requests.ndjson > decisions.ndjson")
@click.option("--json", "as_json", is_flag=True, help="NDJSON is the only output; accepted for uniformity.")
def decide(as_json: bool) -> None:
    """NDJSON requests in, NDJSON decisions out, in the same order.

    No database, no network, no clock: a request line brings its instant (now), the Consents, the asker and, if
    wanted, resources to judge one by one. A line that is not a request is answered with {"id", "error"}, and the exit
    code ends as 3. Dialects: r4 (default), r5, pcf, google, leap-flip, mii, r4-spec-narrative.
    """
    import orjson

    wrong = False
    out = sys.stdout.buffer
    for answer, good in _decisions(sys.stdin.buffer):
        wrong = wrong or not good
        out.write(orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE))
        out.flush()
    if wrong:
        raise SystemExit(3)


consent.add_command(unbuilt("explain", "Why a decision is as it is."))
consent.add_command(unbuilt("what-if", "What a draft Consent would change."))
consent.add_command(unbuilt("lint", "What is wrong with the Consents."))
consent.add_command(unbuilt("expiring", "What ends soon."))
