"""Who made a record is for whoever made it to say: a follower of the saver, inside the write's transaction.

The organizations that a record names as its makers (custodian, requester, author …) see it whatever a Consent says, as
its owner does: the organization whose client or feed created it. A partner that may update a record by consent could
otherwise make it its own, and keep it after the consent has ended.
"""

from collections.abc import Sequence

from gateway.codecs import json_text
from gateway.consent.view import local, view_of
from gateway.exchange.ports.resources import Stored
from gateway.exchange.ports.store import Unit
from gateway.exchange.save import Saver
from gateway.kernel.errors import Invalid


def made_by(stored: Stored, client: str, organization: str) -> bool:
    """Whether a record is the client's or its organization's own, or says that the organization made it.

    Args:
        organization: ``Organization/id`` of the client; "" when it has none.
    """
    own = stored.owner in {client, organization} - {""}
    return own or (bool(organization) and local(organization) in _makers(stored))


def keep_makers(_saver: Saver, unit: Unit, stored: Sequence[Stored], now_us: int) -> None:
    """Refuse an update by another than the owner that changes whose record it is.

    Raises:
        Invalid: the transaction is undone.
    """
    for one in stored:
        if one.version == 1 or one.deleted or one.updated_us < now_us or _own(unit, one):
            continue
        before = unit.resources.version(one.type, one.id, one.version - 1)
        if before is not None and not before.deleted and _makers(before) != _makers(one):
            raise Invalid(
                "only its owner says which organizations made a record",
                at=one.type,
                fix="leave custodian, managingOrganization, requester, author and the like as they are",
            )


def _own(unit: Unit, stored: Stored) -> bool:
    writer = unit.clients.get(stored.source) if stored.source != stored.owner else None
    return stored.source == stored.owner or (writer is not None and writer.organization == stored.owner)


def _makers(stored: Stored) -> frozenset[str]:
    return view_of(json_text.parse(stored.body)).makers
