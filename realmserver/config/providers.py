"""The sections of ``auth.providers``: one class for each provider of log-ins, and one for those of the operator's own.

A provider is on when the file lists it; ``realm`` and ``password`` are always on (``spec/http-api.md`` 6.2 and 1.7).
"""

# ruff: noqa: RUF009 (key() and optional() make attrs fields, not shared defaults)

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import evolve, field, frozen

from realmserver.config.kinds import A_PATH, a_text, one_of
from realmserver.config.schema import key, optional, own_options, section

CUSTOM: Final = "custom/"
"""Begins the names of the operator's own providers, so that no later provider of ours can clash with one."""

CUSTOM_NAME: Final = r"[A-Za-z0-9_-]{1,64}"
"""What may follow it: the name becomes part of accounts."""


@frozen
class Realm:
    """Exchanges the token of a log-in for new ones. Always on; it has no options."""


@frozen
class Password:
    """User name and password. Always on; it has no options."""


@frozen
class CloudKit:
    """Log-ins with a user record name of Apple's CloudKit."""

    key_id: str = key(
        a_text("0123456789abcdef" * 4, "[0-9A-Fa-f]{64}", "64 hexadecimal digits"),
        "The key ID that the CloudKit dashboard shows for the server-to-server key, under API Access.",
    )
    private_key_path: Path = key(
        evolve(A_PATH, example="cloudkit_key.pem"),
        "The PEM file of that key's private half, an elliptic curve key on P-256. Make one with "
        "`openssl ecparam -name prime256v1 -genkey -noout -out cloudkit_key.pem`.",
    )
    container: str = key(
        a_text("iCloud.com.example.app"),
        "The container's identifier: `iCloud.` and the app's name in reverse domain notation.",
    )
    environment: str = key(
        one_of("development", "production"),
        "The environment of CloudKit to ask; apps from the App Store need `production`.",
        default="development",
    )


@frozen
class Google:
    """Log-ins with an ID token of Google Sign-In."""

    client_id: str = key(
        a_text("0123456789-example.apps.googleusercontent.com"),
        "The OAuth client ID of the app, from the credentials page of the Google API console. Tokens that were issued "
        "for another client are refused.",
        word="clientId",
    )


@frozen
class Facebook:
    """Log-ins with an access token of Facebook. It has no options."""


@frozen
class AzureAd:
    """Log-ins with a token of Azure Active Directory."""

    tenant_id: str = key(
        a_text("01234567-89ab-cdef-0123-456789abcdef"),
        "The ID of the directory (tenant), from its properties in the Azure portal. Tokens of other directories are "
        "refused.",
    )


@frozen
class Debug:
    """Lets in whoever gives a name, without any proof. For tests only. It has no options."""


@frozen
class Custom:
    """A provider of your own. All other keys of its section are its options, handed to it as they stand."""

    implementation: str = key(
        a_text("my_provider", r"[^/\\]+", "a file's name without directories"),
        "The Python module that implements it: the name of a file in the include path, with or without `.py`. The "
        "module has a function `provider` that returns the provider's class.",
    )
    include_path: Path | None = key(
        A_PATH,
        "The directory to look for the module in, where it is not `auth.providers_include_path`.",
        default=None,
    )
    name: str = field(default="", kw_only=True)
    """With the prefix: ``custom/twitter``."""
    options: Mapping[str, Any] = field(factory=dict, kw_only=True)
    """Its own keys, as YAML has them."""


@frozen
class Providers:
    """Who else may vouch for a user. A provider is on when it is listed and has what it needs (where that is nothing:
    `facebook: {}`). In this version they are checked only; their log-ins come with a later one."""

    realm: Realm = section(Realm)
    password: Password = section(Password)
    cloudkit: CloudKit | None = optional(CloudKit)
    google: Google | None = optional(Google)
    facebook: Facebook | None = optional(Facebook)
    azuread: AzureAd | None = optional(AzureAd)
    debug: Debug | None = optional(Debug)
    custom: tuple[Custom, ...] = own_options(Custom)
