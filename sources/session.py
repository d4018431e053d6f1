"""The wire: boto3 keeps credentials, signing, endpoints and retries; only the parsing of bodies is taken from it.

botocore's parser costs 200 µs a record, never checks ``x-amz-crc32`` for streams, and turns a 200 whose JSON is cut
short into an empty answer, which for GetRecords reads as the end of a shard. So a ``before-parse`` handler hands
botocore an empty body and carries the raw one past it; `Session.ask` checks the checksum and gives the bytes to
whoever asked, who decodes them by an own strict type. Nothing is kept between calls, so one client serves any number
of threads and shapes. Errors (status 300 and above) go botocore's own way and become `SourceError`s here.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from typing import Any, TypeVar

import boto3
import botocore.exceptions
import botocore.loaders
import botocore.session
import msgspec
from botocore import xform_name
from botocore.client import BaseClient
from botocore.config import Config
from botocore.credentials import CredentialResolver

from dynaview.projections.urls import AddressError, host_of, safe_url
from dynaview.sources.errors import (
    AccessDenied,
    BadPage,
    CredentialsMissing,
    ExportUnknown,
    IteratorExpired,
    SourceError,
    SourceRefused,
    SourceUnavailable,
    StreamGone,
    TableMissing,
    Throttled,
    Trimmed,
)

T = TypeVar("T")

_STREAMS = frozenset({"DescribeStream", "GetShardIterator", "GetRecords"})
_BODY = "DynaviewBody"
_BROKEN = "DynaviewBroken"

_THROTTLED = frozenset(
    {
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_UNAVAILABLE = frozenset(
    {"InternalServerError", "InternalFailure", "ServiceUnavailable", "RequestTimeout", "ResourceInUseException"}
)
_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    }
)
_CLOCK = frozenset({"InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch"})
_EXPORT_UNKNOWN = frozenset({"ExportNotFoundException", "UnknownOperationException"})
_EXPORT_REFUSED = {
    "PointInTimeRecoveryUnavailableException": (
        "an export takes point-in-time recovery: aws dynamodb update-continuous-backups --table-name TABLE "
        "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true"
    ),
    "ExportConflictException": "another export writes there: wait for its end, or name another prefix",
}
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})

_NO_CREDENTIALS = (
    botocore.exceptions.CredentialRetrievalError,
    botocore.exceptions.NoAuthTokenError,
    botocore.exceptions.NoCredentialsError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.ProfileNotFound,
    botocore.exceptions.SSOError,
    botocore.exceptions.TokenRetrievalError,
)
_NO_ANSWER = (botocore.exceptions.ConnectionError, botocore.exceptions.HTTPClientError)


def _carry_body(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """The ``before-parse`` handler: botocore parses no good answer, and of an error only what came whole."""
    body, headers = response_dict["body"], response_dict["headers"]
    if response_dict["status_code"] < 300:
        customized_response_dict[_BODY] = body
        response_dict["body"] = b""
    elif not _fits(body, headers) or not _is_error(body, headers):
        customized_response_dict[_BROKEN] = True
        response_dict["body"] = b"{}"


def client_config(
    *, connections: int = 64, connect: float = 5.0, read: float = 30.0, attempts: int = 2, fips: bool = False
) -> Config:
    """What all clients share. `connections` bounds requests under way at once; `connect` and `read` are seconds. `fips`
    asks for endpoints with validated cryptography; without it AWS_USE_FIPS_ENDPOINT and the profile decide."""
    return Config(
        # Two attempts only: pacing belongs to the caller, who can stop while waiting and botocore can't.
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=connect,
        read_timeout=read,
        max_pool_connections=connections,
        tcp_keepalive=True,
        parameter_validation=False,  # AWS judges; other servers' shard ids and names may be shorter than AWS's
        user_agent_extra=f"dynaview/{version('dynaview')}",
        use_fips_endpoint=fips or None,
    )


@cache
def _service_models() -> botocore.loaders.Loader:
    loader: botocore.loaders.Loader = botocore.session.get_session().get_component("data_loader")
    return loader


def new_session(profile: str | None = None, credentials: CredentialResolver | None = None) -> boto3.Session:
    """A session of its own, for credentials and settings: those of a profile, where one is named; `credentials` are
    where the first are looked for instead. What botocore knows of AWS's services is shared: some 15 MB, which each
    session would read and keep anew."""
    core = botocore.session.get_session()
    core.register_component("data_loader", _service_models())
    if credentials is not None:
        core.register_component("credential_provider", credentials)
    return boto3.Session(botocore_session=core, profile_name=profile)


def make_client(
    service: Any, region: str | None, endpoint: str | None, config: Config, session: boto3.Session | None = None
) -> BaseClient:
    """A client of `service` (``dynamodb``, ``s3``). No I/O. Raises `SourceRefused`, `CredentialsMissing`."""
    if endpoint is not None:
        try:
            host_of(endpoint, "http://localhost:8000")
        except AddressError as error:
            raise SourceRefused(f"the endpoint cannot be used: {error}", "correct the endpoint in the source") from None
    try:
        client: BaseClient = (session or new_session()).client(service, region, endpoint_url=endpoint, config=config)
    except botocore.exceptions.NoRegionError as error:
        raise SourceRefused(
            "no AWS region is set", "name it in the source (region: eu-west-1), in AWS_DEFAULT_REGION or in the profile"
        ) from error
    except botocore.exceptions.ProfileNotFound as error:
        raise CredentialsMissing(str(error), "name a profile of ~/.aws/config, or write this one there") from error
    except _NO_CREDENTIALS as error:
        raise CredentialsMissing(str(error)) from error
    except ValueError:  # botocore's text shows the endpoint whole
        raise SourceRefused(
            f"the endpoint {safe_url(endpoint or '')} cannot be used", "write it as http://localhost:8000"
        ) from None
    except botocore.exceptions.BotoCoreError as error:
        raise SourceRefused(str(error)) from error
    return client


@contextmanager
def translated(
    operation: str, resource: str, refused: Callable[[botocore.exceptions.ClientError], SourceError]
) -> Iterator[None]:
    """Let whatever boto3 raises within come out as a `SourceError`; `refused` tells what an error answer means."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        raise refused(error) from error
    except _NO_CREDENTIALS as error:
        raise CredentialsMissing(f"{operation} on {resource}: {error}") from error
    except _NO_ANSWER as error:
        raise SourceUnavailable(f"{operation} on {resource} got no answer ({_network(error)})") from error
    except botocore.exceptions.BotoCoreError as error:
        raise SourceUnavailable(f"{operation} on {resource}: {type(error).__name__}") from error


class Session:
    """The clients of one account and region, for any number of tables and threads.

    `endpoint` replaces AWS's own for tables and streams alike (DynamoDB Local), `streams_endpoint` for streams only (an
    interface endpoint of a VPC). `connections` bounds the requests under way at once in each client; `connect` and
    `read` are time-outs in seconds.
    """

    def __init__(
        self,
        region: str | None = None,
        endpoint: str | None = None,
        *,
        connections: int = 64,
        connect: float = 5.0,
        read: float = 30.0,
        attempts: int = 2,
        streams_endpoint: str | None = None,
        fips: bool = False,
        session: boto3.Session | None = None,
    ) -> None:
        config = client_config(connections=connections, connect=connect, read=read, attempts=attempts, fips=fips)
        session = session or new_session()
        self.endpoint = endpoint
        self.tables: BaseClient = make_client("dynamodb", region, endpoint, config, session)
        self.streams: BaseClient = make_client("dynamodbstreams", region, streams_endpoint or endpoint, config, session)
        for client in (self.tables, self.streams):
            client.meta.events.register(f"before-parse.{client.meta.service_model.service_id.hyphenize()}", _carry_body)

    def ask(self, operation: str, resource: str, parameters: Mapping[str, Any]) -> bytes:
        """The raw JSON body that AWS answers `operation` (``GetRecords``) with, whole and as it was sent.

        `resource` names the table or stream for messages. Raises `SourceError` for everything that goes wrong.
        """
        client = self.streams if operation in _STREAMS else self.tables
        with translated(operation, resource, lambda error: _refusal(operation, resource, error)):
            answer: dict[str, Any] = getattr(client, xform_name(operation))(**parameters)
        return _whole(operation, resource, answer[_BODY], answer["ResponseMetadata"]["HTTPHeaders"])

    def close(self) -> None:
        """Give back the connections."""
        self.tables.close()
        self.streams.close()


def decode(decoder: msgspec.json.Decoder[T], operation: str, resource: str, body: bytes) -> T:
    """The body of an answer by its strict type. Raises `BadPage` where it is anything else."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadPage(f"{operation} on {resource} was answered with something else than its shape ({error})") from error


def _whole(operation: str, resource: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The body, if it is what was sent. Where no checksum came, a body cut short is noticed as it is no JSON."""
    if not _fits(body, headers):
        raise BadPage(f"{operation} on {resource}: the answer does not fit its checksum")
    try:
        return _unpacked(body, headers)
    except (OSError, EOFError, zlib.error) as error:
        raise BadPage(f"{operation} on {resource}: the compressed answer cannot be read") from error


def _fits(body: bytes, headers: Mapping[str, str]) -> bool:
    checksum = headers.get("x-amz-crc32")
    return checksum is None or checksum.strip() == str(zlib.crc32(body))


def _unpacked(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Compressed answers are not asked for, but the checksum would be of what was sent."""
    return gzip.decompress(body) if headers.get("content-encoding", "identity") == "gzip" else body


def _is_error(body: bytes, headers: Mapping[str, str]) -> bool:
    """Whether the body of an error names the error, as AWS's do."""
    try:
        return "__type" in msgspec.json.decode(_unpacked(body, headers), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, OSError, EOFError, zlib.error):
        return False


def _grant(resource: str) -> str:
    """The resource to name in a policy: every stream of the table, as switching one on again makes a new ARN."""
    arn, found, _ = resource.partition("/stream/")
    return f"{arn}/stream/*" if found else resource if resource.startswith("arn:") else f"table/{resource}"


def _network(error: Exception) -> str:
    """What went wrong on the way, without the request (which holds credentials' signatures)."""
    inner = getattr(error, "kwargs", {}).get("error")
    return type(error).__name__ + (f": {inner}" if isinstance(inner, OSError) else "")


def _refusal(operation: str, resource: str, error: botocore.exceptions.ClientError) -> SourceError:
    return refusal(operation, resource, error, f"dynamodb:{operation}", _grant(resource))


def refusal(
    operation: str, resource: str, error: botocore.exceptions.ClientError, action: str, grant: str
) -> SourceError:
    """The one table of AWS's error codes. `action` on `grant` is what a policy has to allow."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if _BROKEN in error.response and 400 <= status < 500:
        return BadPage(
            f"{operation} on {resource} was answered with an error (status {status}) that did not come whole"
        )
    what = f"{operation} on {resource} was answered with {code or status}"
    text = str(error.response.get("Error", {}).get("Message", ""))
    if text and code not in _CLOCK:  # that text shows the signature
        what += f" ({text[:300]})"
    if code == "ResourceNotFoundException":
        return StreamGone(what) if operation in _STREAMS else TableMissing(what)
    if code == "TableNotFoundException":
        return TableMissing(what)
    if code == "ExpiredIteratorException":
        return IteratorExpired(what)
    if code == "TrimmedDataAccessException":
        return Trimmed(what)
    if code in _EXPORT_UNKNOWN:
        return ExportUnknown(what)
    if code in _EXPORT_REFUSED:
        return SourceRefused(what, _EXPORT_REFUSED[code])
    if code in _THROTTLED or status == 429:
        return Throttled(what)
    if code in _DENIED:
        return AccessDenied(what, action, grant)
    if code in _CREDENTIALS:
        return CredentialsMissing(what)
    if code in _CLOCK:
        return CredentialsMissing(what, "check the secret key, and that this machine's clock is right")
    if code in _UNAVAILABLE or status >= 500:
        return SourceUnavailable(what)
    return SourceRefused(what)
