"""Settings: read once, typed, closed; from a TOML file, then DOORWAY_* variables, then the command line."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.kernel.errors import Invalid


class MllpDestination(BaseModel):
    """A receiver of HL7 v2 messages: where it listens, and whose consent decisions it stands under."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    address: str  # host:port
    organization: str  # Organization/id: consent is decided for it, at each try
    purpose: str = "TREAT"  # v3 PurposeOfUse
    application: str = ""  # MSH-5
    facility: str = ""  # MSH-6
    timeout_s: float = 30.0  # longest wait for an answer
    tls_authority: str = ""  # PEM file; with it the connection is TLS
    tls_certificate: str = ""  # own certificate, PEM
    tls_key: str = ""


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
    mllp_tls_certificate: str = ""  # PEM file; with it the listener speaks TLS only
    mllp_tls_key: str = ""
    mllp_tls_client_authority: str = ""  # PEM file; with it clients must show a certificate of this authority
    mllp_destinations: dict[str, MllpDestination] = Field(default_factory=dict)  # by name
    mllp_certificate_senders: dict[str, list[str]] = Field(default_factory=dict)  # certificate name: MSH-3^MSH-4 values
    http_body_limit_bytes: int = 16 * 1024 * 1024
    http_receive_timeout_s: float = 20.0
    jurisdiction: str = "us"  # us or ca: which profiles, identifiers and consent template apply
    time_zone: str = "UTC"  # civil zone in which consent dates begin and end
    link_same_at_bits: float = 7.0  # log2 of the odds that two records are one person: linked from here when certain
    link_review_at_bits: float = 0.0  # from here a reviewer decides
    link_within_source: bool = False  # whether doubles of one custodian wait for review too
    link_two_people: bool = False  # whether a reviewer's "same" needs a second reviewer
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
