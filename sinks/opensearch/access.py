"""Who we are to an OpenSearch, whom we trust, and what has to be granted to whom where it says no."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote

from opensearchpy import Urllib3AWSV4SignerAuth

from dynaview.sinks.opensearch.errors import rights
from dynaview.sinks.opensearch.profile import CLUSTER, SERVERLESS, Profile

if TYPE_CHECKING:
    from dynaview.sinks.aws import AwsCredentials, Signing

_FILES = {"ca_file": "ca_certs", "client_cert_file": "client_cert", "client_key_file": "client_key"}


class Access:
    """How one store is spoken to. Raises ValueError for a URL and options that do not go together."""

    def __init__(self, url: SplitResult, options: Mapping[str, Any]) -> None:
        self.settings: dict[str, Any] = {}
        """For the client library."""
        self.signing: Signing | None = None
        """None where requests are not signed."""
        self.credentials: AwsCredentials | None = None
        secure = url.scheme == "https"
        if secure:
            self.settings |= {"use_ssl": True, "ssl_show_warn": False, "verify_certs": options.get("verify", True)}
        for option, setting in _files(options, secure):
            self.settings[setting] = option
        if options.get("auth") == "aws":
            from dynaview.sinks.aws import AwsCredentials, refuse_open_line, signing_of  # only who uses it pays for it

            refuse_open_line(secure, url.hostname or "", url.username)
            self.signing = signing_of(url.hostname or "", options)
            self.credentials = AwsCredentials(self.signing.region)
            # Of the library's signers the one for the connections that are used here. It asks for each request anew.
            self.settings["http_auth"] = Urllib3AWSV4SignerAuth(
                self.credentials, self.signing.region, self.signing.service
            )
        elif alone := [name for name in ("service", "region") if options.get(name)]:
            raise ValueError(f"{' and '.join(alone)} say for what requests are signed: write auth: aws beside")
        elif url.username is not None:
            self.settings["http_auth"] = (unquote(url.username), unquote(url.password or ""))

    @property
    def profile(self) -> Profile:
        """What can be asked of the store."""
        return SERVERLESS if self.signing is not None and self.signing.service == "aoss" else CLUSTER

    def remedy(self, index: str) -> str:
        """What to grant for a view's `index` where the store does not allow something."""
        if self.signing is None or self.credentials is None:
            return rights(index)
        who = self.credentials.principal()
        if self.signing.service == "aoss":
            return (
                f"allow aoss:APIAccessAll on the collection to {who} in IAM, and in a data access policy of the "
                f"collection aoss:*Index, aoss:*Document and aoss:*CollectionItems on {index} and {index}-g*; check "
                "region and service too"
            )
        return (
            f"allow es:ESHttp* on the domain to {who}, in IAM or in the domain's access policy, and check region and "
            f"service; with fine-grained access control, map it to a role and {rights(index)}"
        )


def _files(options: Mapping[str, Any], secure: bool) -> list[tuple[str, str]]:
    """Files to trust and to show, each with the library's name for it."""
    certificate = options.get("client_cert_file")
    if options.get("client_key_file") and not certificate:
        raise ValueError("client_key_file without client_cert_file: name the certificate that the key belongs to")
    if certificate and not secure:
        raise ValueError("client_cert_file is shown over TLS only: write https:// in the URL")
    if certificate and options.get("verify") is False:
        # The library would leave it out without a word.
        raise ValueError("a client certificate is shown only to a server that is verified: leave verify: false out")
    found = [(str(options[option]), setting) for option, setting in _FILES.items() if options.get(option)]
    for option in _FILES:
        if (name := options.get(option)) and not Path(name).is_file():
            raise ValueError(f"there is no {option} {name}")
    return found
