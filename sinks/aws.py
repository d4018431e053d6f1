"""AWS credentials for the stores that take them: found as boto3 finds them, renewed, and never shown.

botocore renews what a role, a container, an instance or a process gave before it ends. What it does not renew (the
environment, a file that somebody writes anew) is looked for again when AWS has refused it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import botocore.exceptions
import botocore.session
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials

from dynaview.projections.urls import is_local
from dynaview.sinks.port import SinkRefused, SinkUnavailable

Service: TypeAlias = Literal["es", "aoss"]
"""What OpenSearch Service's domains (``es``) and Serverless' collections (``aoss``) are called in a signature."""

_REGION = r"(?P<region>[a-z]{2}(?:-[a-z]+)+-\d+)"
_HOSTS = (
    re.compile(rf"\.{_REGION}\.(?P<service>es|aoss)(?:-fips)?\.amazonaws\.com(?:\.cn)?$"),
    re.compile(rf"\.(?P<service>aoss)-fips\.{_REGION}\.amazonaws\.com$"),
    re.compile(rf"\.(?P<service>aos)\.{_REGION}\.on\.aws$"),
)

_PASSING = (botocore.exceptions.ConnectionError, botocore.exceptions.HTTPClientError)
_QUICK = Config(connect_timeout=2, read_timeout=2, retries={"total_max_attempts": 1})

FIND = (
    "give the process a role, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where there is one, "
    "AWS_SESSION_TOKEN"
)
"""The remedy where there are no credentials, or none that serve."""


class Signing(NamedTuple):
    """For what a request is signed."""

    service: Service
    region: str


def signing_of(host: str, options: Mapping[str, Any]) -> Signing:
    """Service and region, from the host where it tells, else from ``service`` and ``region``.

    Raises ValueError where neither tells, or where they contradict each other.
    """
    service, region = options.get("service"), options.get("region")
    found = next((match for pattern in _HOSTS if (match := pattern.search(host))), None)
    if found is not None:
        told = "aoss" if found["service"] == "aoss" else "es"
        if service not in (None, told):
            raise ValueError(f"service: {service} contradicts the host, which is of service {told}: leave service out")
        if region not in (None, found["region"]):
            raise ValueError(
                f"region: {region} contradicts the host, which is in {found['region']}: leave region out, or correct "
                "the URL"
            )
        service, region = told, found["region"]
    if missing := [name for name, value in (("service", service), ("region", region)) if not value]:
        raise ValueError(
            f"auth: aws: the host does not tell {' and '.join(missing)}: name service (es for OpenSearch Service, aoss "
            "for Serverless) and region beside it"
        )
    return Signing("aoss" if service == "aoss" else "es", str(region))


def refuse_open_line(secure: bool, host: str, user: str | None) -> None:
    """Raises ValueError where signed requests would go over a line that anybody reads, or where another way to say
    who one is stands beside ``auth: aws``."""
    if not secure and not is_local(host):
        raise ValueError("auth: aws needs an encrypted line: write https:// in the URL")
    if user is not None:
        raise ValueError("auth: aws takes the place of user and password: take them out of the URL, or leave auth out")


_DATABASE = re.compile(rf"\.{_REGION}\.rds\.amazonaws\.com(?:\.cn)?$")


class DatabaseLogin:
    """RDS's tokens in place of a password, for one database and user.

    A token serves for connections that begin within 15 minutes, so each connection gets one of its own; those that
    stand stay. Raises ValueError where it is not told whom to log in where.
    """

    def __init__(self, host: str, port: int, user: str | None, region: str | None) -> None:
        if not host or "," in host or host.startswith(("/", "@")):
            raise ValueError("auth: aws needs one host in the URL, as a token is for one")
        if not user:
            raise ValueError("auth: aws needs the database's user in the URL: postgresql://user@host/name")
        found = _DATABASE.search(host)
        told = found["region"] if found is not None else None
        if region and told and region != told:
            raise ValueError(
                f"region: {region} contradicts the host, which is in {told}: leave region out, or correct the URL"
            )
        if not (region or told):
            raise ValueError("auth: aws: the host does not tell the region: name region beside it")
        self._host, self._port, self._user = host, port, user
        self._credentials = AwsCredentials(region or told)

    def token(self) -> str:
        """For one connection. Raises `SinkRefused`, `SinkUnavailable`."""
        return self._credentials.database_token(self._host, self._port, self._user)

    def remedy(self) -> str:
        """What to grant where the database does not take it."""
        return (
            f"allow rds-db:connect on the database user {self._user} to {self._credentials.principal()}, and "
            f"GRANT rds_iam TO {self._user}"
        )


def refuse_open_database(parameters: Mapping[str, Any], host: str, password: object) -> None:
    """Raises ValueError where a token would go over a line that anybody reads, or where a password stands beside."""
    if parameters.get("sslmode") not in ("require", "verify-ca", "verify-full") and not is_local(host):
        raise ValueError("auth: aws needs an encrypted line: leave sslmode out of the URL, or write verify-full")
    if password:
        raise ValueError("auth: aws takes the place of a password: take it out of the URL, or leave auth out")


class AwsCredentials:
    """What one process may do in AWS. No I/O until it is asked. Safe to use from several threads."""

    def __init__(self, region: str | None) -> None:
        self._region = region
        self._lock = threading.Lock()
        self._session: botocore.session.Session | None = None
        self._found: Any = None
        self._principal: str | None = None
        self._clients: dict[str, Any] = {}

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Those of this moment, as the signers of opensearch-py and botocore ask for them.

        Raises `SinkRefused` where there are none, `SinkUnavailable` where whoever gives them out does not answer.
        """
        with self._lock:
            try:
                if self._found is None:
                    self._found = self._opened().get_credentials()
                if self._found is None:
                    self._session = None
                    raise SinkRefused(f"no AWS credentials are found: {FIND}")
                frozen: ReadOnlyCredentials = self._found.get_frozen_credentials()
            except botocore.exceptions.BotoCoreError as error:
                self._found = self._session = None
                name = type(error).__name__
                if isinstance(error, _PASSING):
                    raise SinkUnavailable(f"AWS credentials cannot be fetched now ({name})") from None
                raise SinkRefused(f"AWS credentials cannot be had ({name}): {FIND}") from None
            return frozen

    def renewed(self, refused: ReadOnlyCredentials) -> bool:
        """Look for credentials anew after AWS has refused `refused`; whether there are others now. Raises as
        `get_frozen_credentials`."""
        if self.get_frozen_credentials() != refused:
            return True
        with self._lock:
            self._found = self._session = self._principal = None
            self._clients.clear()
        return self.get_frozen_credentials() != refused

    def principal(self) -> str:
        """Who AWS says that this is, for messages; said in general words where it does not answer."""
        with self._lock:
            if self._principal is None:
                try:
                    client = self._client("sts")
                    self._principal = str(client.get_caller_identity()["Arn"])
                except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, LookupError):
                    self._principal = "the principal of these credentials (aws sts get-caller-identity names it)"
            return self._principal

    def database_token(self, host: str, port: int, user: str) -> str:
        """A password for a database of RDS, good for a connection begun within 15 minutes. No I/O but for credentials.
        Raises as `get_frozen_credentials`."""
        self.get_frozen_credentials()
        with self._lock:
            token: str = self._client("rds").generate_db_auth_token(DBHostname=host, Port=port, DBUsername=user)
            return token

    def _opened(self) -> botocore.session.Session:
        if self._session is None:
            self._session = botocore.session.get_session()
        return self._session

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._opened().create_client(service, region_name=self._region, config=_QUICK)
        return self._clients[service]
