"""Settings: read once, typed, closed; from a TOML file, then DOORWAY_* variables, then the command line."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, ValidationError, model_validator

from gateway.kernel.errors import Invalid

_ID: Final = r"[A-Za-z0-9\-.]{1,64}"
OrganizationReference: TypeAlias = Annotated[str, Field(pattern=rf"^Organization/{_ID}$")]
PartyReference: TypeAlias = Annotated[str, Field(pattern=rf"^(Organization|HealthcareService)/{_ID}$")]


class MllpDestination(BaseModel):
    """A receiver of HL7 v2 messages: where it listens, and whose consent decisions it stands under."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    address: str  # host:port
    organization: OrganizationReference  # consent is decided for it, at each try
    purpose: str = "TREAT"  # v3 PurposeOfUse
    application: str = ""  # MSH-5
    facility: str = ""  # MSH-6
    tells: tuple[Literal["REF", "360X", "ADT"], ...] = ("REF",)  # what it is told of, and how
    timeout_s: float = 30.0  # longest wait for an answer
    tls_authority: str = ""  # PEM file; with it the connection is TLS
    tls_certificate: str = ""  # own certificate, PEM
    tls_key: str = ""


class MllpAsker(BaseModel):
    """Whose consent decisions the queries (PDQ, PIX) of an MLLP sender stand under, and when the sender is believed.

    A name in MSH-3 and MSH-4 proves nothing: it counts when the connection's certificate may send as it
    (``mllp_certificate_senders``), or when the connection comes from one of ``networks``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    organization: OrganizationReference
    purpose: str = "TREAT"  # v3 PurposeOfUse
    networks: list[IPvAnyNetwork] = Field(default_factory=list)  # such as 10.20.0.0/16, a VPN's addresses


class MllpFeed(BaseModel):
    """What is agreed with one sender of HL7 v2 messages, known by what it says in MSH or by the listener it calls.

    What is left out is as in the settings of the same meaning.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    senders: list[str] = Field(default_factory=list)  # MSH-3.1^MSH-4.1 values
    listener: str = ""  # HOST:PORT of mllp_address: all who call there count as this one sender
    default_charset: str = ""  # when MSH-18 is empty
    charset: str = ""  # whatever MSH-18 says
    time_zone: str = ""  # IANA name or +hh:mm: of times without offset
    site: str = ""  # overlay below mappings/sites
    jurisdiction: str = ""
    organization: OrganizationReference = ""  # for which it speaks: what it sends is that organization's own
    # its names and numbers of other organizations: whom it means
    parties: dict[str, PartyReference] = Field(default_factory=dict)
    conflict: Literal["quarantine", "accept"] = "quarantine"  # a control id that comes again with other content
    wait_for_processing: bool | None = None
    sequence_numbers: bool = False  # MSH-13 counts the messages: what is missing is waited for

    @model_validator(mode="after")
    def _known_by_one_thing(self) -> Self:
        if bool(self.senders) == bool(self.listener):
            raise ValueError("give either senders or listener")
        return self


class Settings(BaseModel):
    """Everything that a site can set. Units stand in the names; docs: README.md, "Settings"."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: str = Field(default="sqlite:///doorway.db", repr=False)
    data_folder: str = "."  # loaded FHIR packages, keys
    http_address: str = "127.0.0.1:8080"
    public_base_url: str = ""  # behind a proxy: the URL that partners see, such as https://gateway.example/fhir
    mllp_address: str = "127.0.0.1:2575"
    mllp_message_limit_bytes: int = 16 * 1024 * 1024
    mllp_idle_timeout_s: float = 300.0
    mllp_frame_timeout_s: float = 30.0
    mllp_connections_per_peer: int = 64
    mllp_release: int = 1  # MLLP release; 2 sends the commit byte before each acknowledgement
    mllp_wait_for_processing: bool = False  # answer original-mode messages after processing, not after the commit
    mllp_default_charset: str = "utf-8"  # when MSH-18 is empty
    mllp_keep_bodies_days: int = Field(default=0, ge=0)  # of processed and refused messages; 0: for ever
    mllp_keep_keys_days: int = Field(default=0, ge=0)  # how long a repeat is told as one; 0: for ever
    mllp_tls_certificate: str = ""  # PEM file; with it the listener speaks TLS only
    mllp_tls_key: str = ""
    mllp_tls_client_authority: str = ""  # PEM file; with it clients must show a certificate of this authority
    mllp_feeds: dict[str, MllpFeed] = Field(default_factory=dict)  # by name
    mllp_destinations: dict[str, MllpDestination] = Field(default_factory=dict)  # by name
    mllp_askers: dict[str, MllpAsker] = Field(default_factory=dict)  # by MSH-3^MSH-4: who may ask PDQ and PIX
    mllp_certificate_senders: dict[str, list[str]] = Field(default_factory=dict)  # certificate name: MSH-3^MSH-4 values
    http_body_limit_bytes: int = 16 * 1024 * 1024
    http_receive_timeout_s: float = 20.0
    http_cors_origins: str = "*"  # origins whose pages may read answers, separated by spaces; empty: none
    http_requests_in_flight: int = Field(default=256, ge=1)  # of one client at the same time; beyond it 429
    match_per_minute: int = Field(default=60, ge=1)  # $match requests of one client; beyond it 429
    match_people_per_hour: int = Field(default=500, ge=1)  # different people one asker may ask for; beyond it 429
    http_tls_certificate: str = ""  # PEM file; with it the API speaks TLS only
    http_tls_key: str = ""
    http_tls_client_authority: str = ""  # PEM file; with it clients must show a certificate of this authority
    http_certificate_clients: dict[str, list[str]] = Field(default_factory=dict)  # certificate name: clients it may be
    jurisdiction: str = "us"  # us or ca: which profiles, identifiers and consent template apply
    time_zone: str = "UTC"  # civil zone in which consent dates begin and end
    organization_labels: dict[OrganizationReference, list[str]] = Field(
        default_factory=dict
    )  # Organization/id: what naming it tells
    break_glass_roles: list[str] = Field(default_factory=list)  # system|code of registrations that may; none: nobody
    break_glass_minutes: int = Field(default=60, ge=1)  # from the first use of a token
    privacy_officer_roles: list[str] = Field(default_factory=list)  # system|code: may have any decision explained
    privacy_officer: OrganizationReference = ""  # that is told of each emergency access
    link_same_at_bits: float = 3.5  # log2 of the odds that two records are one person: linked from here when certain
    link_review_at_bits: float = 0.0  # from here a reviewer decides
    link_within_source: bool = False  # whether doubles of one custodian wait for review too
    link_two_people: bool = False  # whether a reviewer's "same" needs a second reviewer
    link_reviewer_roles: list[str] = Field(default_factory=list)  # system|code: may review over HTTP; none: nobody
    link_model: str = ""  # a model file instead of the shipped one


def read_settings(file: str | None = None, environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Merge file, ``DOORWAY_<NAME>`` variables and overrides (None means not given), later ones winning.

    Raises:
        Invalid: an unknown setting or a value of the wrong type; the message names the setting, never its value.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values.update(tomllib.loads(Path(file).read_text(encoding="utf-8")))
        except OSError as error:
            raise Invalid("cannot be read", at=file) from error
        except tomllib.TOMLDecodeError as error:
            raise Invalid(f"not TOML: {error}", at=file) from None
    for name, value in (os.environ if environment is None else environment).items():
        key = name.removeprefix("DOORWAY_").lower()
        if name.startswith("DOORWAY_") and key in Settings.model_fields:
            values[key] = value
    values.update({name: value for name, value in overrides.items() if value is not None})
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise Invalid(first["msg"], at=f"setting {name}", fix="see README.md, Settings") from None
