"""Whose credentials a source is read with: those that boto3 finds, a profile's, or those of a role, which may be in
another account and are renewed before they end."""

from __future__ import annotations

import logging
import re
import threading
from datetime import UTC, datetime
from typing import Any

import boto3
import botocore.exceptions
from botocore.credentials import CredentialProvider, CredentialResolver, DeferredRefreshableCredentials

from dynaview.projections.declaration import SourceDeclaration
from dynaview.sources.errors import AccessDenied, CredentialsMissing, SourceError
from dynaview.sources.session import Session, client_config, make_client, new_session, refusal, translated

ASSUME = "sts:AssumeRole"

_SESSION_NAME = "dynaview"
"""How what is done by the role appears in CloudTrail."""

_PRINCIPAL = re.compile(r"User: (arn:\S+) is not authorized")


def session_of(source: SourceDeclaration) -> Session:
    """What a declared source is read through. No I/O: a role is assumed by the first request, and a request that needs
    its credentials raises what stands against them.

    Raises `SourceRefused` where no region is known, `CredentialsMissing` where a named profile does not exist.
    """
    return Session(
        source.region,
        source.endpoint,
        streams_endpoint=source.streams_endpoint,
        fips=source.fips,
        session=credentials_of(source),
    )


def credentials_of(source: SourceDeclaration) -> boto3.Session | None:
    """What clients of a source's account are made from; None for what boto3 finds by itself."""
    if source.role_arn is None:
        return None if source.profile is None else new_session(source.profile)
    role = _Role(source, new_session(source.profile))
    return new_session(source.profile, CredentialResolver([role]))


def assumed_as(source: SourceDeclaration) -> str:
    """Assume the role of a source, and tell as whom its table is read. Raises `SourceError`."""
    assert source.role_arn is not None
    session = credentials_of(source)
    with translated("GetCallerIdentity", source.role_arn, _unexpected(source.role_arn)):
        return _identity(source, session)


def _identity(source: SourceDeclaration, session: boto3.Session | None) -> str:
    client: Any = _sts(source, session)
    try:
        return str(client.get_caller_identity()["Arn"])
    finally:
        client.close()


def _sts(source: SourceDeclaration, session: boto3.Session | None) -> Any:
    return make_client("sts", source.region, None, client_config(fips=source.fips), session)


def _unexpected(role: str) -> Any:
    return lambda error: refusal(error.operation_name, role, error, f"sts:{error.operation_name}", role)


class _Role(CredentialProvider):
    """Credentials of a role, got with those of the session `base`."""

    METHOD = "assume-role"

    def __init__(self, source: SourceDeclaration, base: boto3.Session) -> None:
        super().__init__()
        self._source = source
        self._role = str(source.role_arn)
        self._base = base
        self._client: Any = None
        self._lock = threading.Lock()
        # What fails is the reason of the views that wait for it; botocore would log it again, with its stack.
        logging.getLogger("botocore.credentials").setLevel(logging.ERROR)

    def load(self) -> DeferredRefreshableCredentials:
        """Called by botocore when a client is made."""
        return DeferredRefreshableCredentials(self._assume, self.METHOD)

    def _assume(self) -> dict[str, str]:
        """Called by botocore before the first request, and again before the credentials end."""
        parameters = {"RoleArn": self._role, "RoleSessionName": _SESSION_NAME}
        if self._source.external_id is not None:
            parameters["ExternalId"] = self._source.external_id
        with translated("AssumeRole", self._role, self._refused):
            with self._lock:
                if self._client is None:
                    self._client = _sts(self._source, self._base)
            found = self._client.assume_role(**parameters)["Credentials"]
        ends: datetime = found["Expiration"]
        if ends <= datetime.now(UTC):
            raise CredentialsMissing(
                f"the credentials of {self._role} are over before they begin", "check this machine's clock"
            )
        return {
            "access_key": found["AccessKeyId"],
            "secret_key": found["SecretAccessKey"],
            "token": found["SessionToken"],
            "expiry_time": ends.isoformat(),
        }

    def _refused(self, error: botocore.exceptions.ClientError) -> SourceError:
        found = refusal("AssumeRole", self._role, error, ASSUME, self._role)
        if not isinstance(found, AccessDenied):
            return found
        named = _PRINCIPAL.search(found.what)
        principal = named[1] if named else self._asker()
        asked = "asks for no external ID (else give it as external_id)"
        if self._source.external_id is not None:
            asked = "asks for no other external ID than the source's external_id"
        remedy = (
            f"grant {ASSUME} on {self._role} to {principal}, and see that the role's trust policy names it as "
            f"principal and {asked}"
        )
        return AccessDenied(found.what, ASSUME, self._role, remedy)

    def _asker(self) -> str:
        try:
            return _identity(self._source, self._base)
        except (SourceError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            return "the credentials of this process"
