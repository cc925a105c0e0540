"""What several doors share: the store, the saver, the linker, knowledge of consent, terminology."""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from gateway.exchange.ports.store import Store
from gateway.profiles.search_parameters import Definitions
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.adapters.db.store import DbStore
    from gateway.exchange.disclose import Knowledge
    from gateway.exchange.link import Linker
    from gateway.exchange.organization_labels import OrganizationLabels
    from gateway.exchange.rest.emergency import Emergency
    from gateway.exchange.save import Saver
    from gateway.exchange.tell import EventOf
    from gateway.profiles.facts import Facts
    from gateway.profiles.validate import Validator
    from gateway.terminology import Terminology

log = logging.getLogger(__name__)


def describe(settings: Settings) -> str:
    """One line on what would be built, without secrets."""
    return (
        f"database {settings.database_url.split(':', 1)[0]}, http {settings.http_address}, mllp {settings.mllp_address}"
    )


def open_store(settings: Settings, *, may_rebuild: bool = False) -> Store:
    """The store of the settings, its schema brought up to date, and its search index where this is the gateway itself.

    Raises:
        Busy: the database cannot be reached or written.
        Fault: it belongs to a newer release.
        Conflict: it is indexed for other settings than these, and may not be rebuilt.
    """
    from gateway.adapters.db.engine import Database
    from gateway.adapters.db.migrate import upgrade
    from gateway.adapters.db.reindex import ensure

    upgrade(Database(settings.database_url))
    store = database_store(settings)
    try:
        ensure(store, may_rebuild=may_rebuild)
    except BaseException:
        store.close()
        raise
    return store


def database_store(settings: Settings) -> "DbStore":
    """The store of the settings as it lies there, for commands that look at its state themselves."""
    from gateway.adapters.db.engine import Database
    from gateway.adapters.db.reindex import INDEX_VERSION
    from gateway.adapters.db.store import DbStore, Derived
    from gateway.adapters.files.data import read_data
    from gateway.consent.outline import packed_with_outline
    from gateway.exchange.disclose import read_vocabulary_from

    definitions, vocabulary = search_definitions(settings.data_folder), read_vocabulary_from(read_data)
    mark = f"{INDEX_VERSION} {definitions.digest} {vocabulary.digest} {settings.time_zone}"
    view = packed_with_outline(ZoneInfo(settings.time_zone), vocabulary, domain_permit=False)
    derived = Derived(definitions, view, mark)
    return DbStore(Database(settings.database_url), derived)


def search_definitions(data_folder: str = "") -> Definitions:
    """The search parameters that ship with Doorway (profiles/search), and what the packages in a data folder add."""
    folder = Path(data_folder) / "packages"
    return _with_packages(folder) if data_folder and folder.is_dir() else _shipped_definitions()


@cache
def _with_packages(folder: Path) -> Definitions:
    """Read once a process: packages that are added count from the next start."""
    from gateway.adapters.files.packages import PackageFolder

    return _shipped_definitions().with_resources(PackageFolder(folder).search_parameters(), only_new=True)


@cache
def _shipped_definitions() -> Definitions:
    from gateway.adapters.files.data import read_data
    from gateway.profiles.search_parameters import read_definitions

    return read_definitions(read_data("profiles/search/parameters.csv"), read_data("profiles/search/compartments.csv"))


def clock(settings: Settings) -> Callable[[], datetime]:
    """The aware time in the civil zone in which consent dates begin and end."""
    zone = ZoneInfo(settings.time_zone)
    return lambda: datetime.now(zone)


def now_us() -> int:
    """The wall clock in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def saver(settings: Settings, *, interactive: bool = False) -> "Saver":
    """The one path for writing: labels of the sensitivity tables, and what follows every write.

    Args:
        interactive: for partners that act over REST: their referral Tasks are held to the published transitions, and
            no update makes a record of others their own.
    """
    from gateway.adapters.files.data import read_data
    from gateway.exchange.consent_forms import ConsentRule, read_forms
    from gateway.exchange.makers import keep_makers
    from gateway.exchange.referral import carry_referrals, check_referrals
    from gateway.exchange.save import Follower, Saver
    from gateway.exchange.tell import Partner, Tell

    linking = linker(settings)
    sources = search_definitions(settings.data_folder).of("Consent").get("source-reference")
    told = ConsentRule(read_forms(read_data), sources)
    places = organization_labels(settings)
    labeller = places.labeller
    by_partners: tuple[Follower, ...] = (keep_makers, check_referrals, carry_referrals)
    followers = by_partners if interactive else (carry_referrals,)
    feeds = _feeds(settings)
    partners = {
        name: Partner(
            one.organization,
            f"{one.application}^{one.facility}" if one.application else "",
            feeds.get(one.organization, frozenset()),
            frozenset(one.tells),
        )
        for name, one in settings.mllp_destinations.items()
    }
    followers = (
        told,
        places.follow,
        *followers,
        linking.follow,
        *([Tell(partners, _adt_events())] if partners else []),
    )
    return Saver(
        labeller, followers, join=labeller.join, prepare=linking.prepare, told=places.told, claim=labeller.claimed,
        bereaved=(told, linking.follow),
    )  # fmt: skip


def organization_labels(settings: Settings) -> "OrganizationLabels":
    """What stored Organizations tell of the records that name them."""
    from gateway.adapters.files.data import read_data
    from gateway.exchange.organization_labels import OrganizationLabels
    from gateway.exchange.relabel import read_labeller

    labeller = read_labeller(read_data, settings.organization_labels)
    return OrganizationLabels(labeller, search_definitions(settings.data_folder))


def _adt_events() -> "EventOf":
    """Which ADT event tells of a change of a Patient or Encounter (mappings/hl7v2/outbound/changes.csv)."""
    from gateway.adapters.files.hl7v2_tables import load_outbound
    from gateway.mapping.hl7v2.outbound import event_of

    return lambda before, after: event_of(before, after, load_outbound())


def linker(settings: Settings) -> "Linker":
    """Real-time linking with the shipped tables and the site's thresholds."""
    from gateway.adapters.files.linkage import default_reader, load_model
    from gateway.exchange.link import Linker, Rules

    rules = Rules(
        same_at_bits=settings.link_same_at_bits,
        review_at_bits=settings.link_review_at_bits,
        within_source=settings.link_within_source,
        two_people=settings.link_two_people,
    )
    return Linker(load_model(settings.link_model or None), default_reader(), rules)


def speakers(settings: Settings) -> dict[str, str]:
    """``Organization/id`` that each source of HL7 v2 messages speaks for, where that is agreed."""
    feeds = settings.mllp_feeds.items()
    return {source: one.organization for name, one in feeds if one.organization for source in one.senders or [name]}


def _feeds(settings: Settings) -> dict[str, frozenset[str]]:
    told = speakers(settings)
    return {organization: frozenset(s for s in told if told[s] == organization) for organization in told.values()}


def consent_knowledge(settings: Settings) -> "Knowledge":
    """What consent decisions rest on."""
    from gateway.adapters.files.data import read_data
    from gateway.exchange.disclose import read_knowledge

    knowledge = read_knowledge(read_data, zone=ZoneInfo(settings.time_zone))
    knowledge.disagreements.alarm = lambda type_: log.error("search index and consent disagree type=%s", type_)
    return knowledge


def emergency(settings: Settings) -> "Emergency":
    """Who may break the glass over the API, how long, and who is told."""
    from gateway.exchange.rest.emergency import Emergency

    return Emergency(frozenset(settings.break_glass_roles), settings.break_glass_minutes, settings.privacy_officer)


def validator(settings: Settings) -> "Validator":
    """The validator over the shipped tables and the loaded packages."""
    from gateway.adapters.files.validation import open_validator

    return open_validator(Path(settings.data_folder) / "packages")


def terminology(settings: Settings, facts: "Facts") -> "Terminology":
    """Our tables of codes, the loaded packages, and the value sets that R4 itself requires."""
    from gateway.adapters.files.packages import AllDefinitions, PackageFolder
    from gateway.adapters.files.validation import own_tables
    from gateway.exchange.code_sets import with_required_sets
    from gateway.terminology import Terminology

    definitions = AllDefinitions(PackageFolder(Path(settings.data_folder) / "packages"))
    return Terminology(own_tables(), with_required_sets(definitions.find, facts))
