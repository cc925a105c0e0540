"""A gateway that only receives, as a process of its own that can be killed: ``python -m tests.exam.receiver URL``.

Prints its port; ends when its stdin closes.
"""

import sys

from gateway.adapters.db.store import DbStore
from gateway.adapters.mllp.receiver import Arrivals, Listener, Receiver
from gateway.exchange.receive import admit_all
from gateway.settings import read_settings
from gateway.wiring import open_store


def main() -> None:
    """Receive until told to stop."""
    store = open_store(read_settings(environment={}, database_url=sys.argv[1]))
    assert isinstance(store, DbStore)
    receiver = Receiver(
        [Listener(port=0)],
        lambda prepared: store.submit(lambda unit: admit_all(unit, prepared)),
        lambda _id, _feed, _address: b"",
        Arrivals(),
    )
    print(receiver.start()[0][1], flush=True)
    sys.stdin.read()
    receiver.stop()
    store.close()


if __name__ == "__main__":
    main()
