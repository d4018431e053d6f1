"""A scripted gate that looks at signatures as AWS does: it computes each anew from the request as it came.

    gate = Gate("es", "eu-west-1", {"AKIA1": Key("secret", token="t1")})
    line.before = gate          # of a `Line` (tests/sinks/opensearch/line.py) that also hands over headers

What AWS answers is worded as OpenSearch Service words it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<signed>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass
class Key:
    """What AWS knows of an access key."""

    secret: str
    token: str | None = None
    expired: bool = False
    denied: str = ""
    """Who may not: the principal's ARN."""


@dataclass
class Gate:
    """Lets pass what is signed for its service and region by a key that it knows."""

    service: str
    region: str
    keys: dict[str, Key]
    passed: list[str] = field(default_factory=list)
    """The access keys of what passed, in order."""

    def refusal(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> str | None:
        """Why AWS would say 403, None where it would not."""
        found = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        if found is None:
            return "User: anonymous is not authorized to perform: es:ESHttpGet"
        if found["region"] != self.region:
            return "Credential should be scoped to a valid region. "
        if found["service"] != self.service:
            return f"Credential should be scoped to correct service: '{self.service}'. "
        key = self.keys.get(found["id"])
        if key is None:
            return "The security token included in the request is invalid."
        if headers.get("x-amz-security-token") != key.token:
            return "The security token included in the request is invalid."
        if key.expired:
            return "The security token included in the request is expired"
        if headers.get("x-amz-content-sha256") != hashlib.sha256(body).hexdigest():
            return "The provided 'x-amz-content-sha256' header does not match what was computed."
        if found["signature"] != self._signature(method, path, body, headers, key, found):
            # AWS goes on with what it would have signed, the headers included.
            return (
                "The request signature we calculated does not match the signature you provided.\n\nThe Canonical "
                f"String for this request should have been\n'x-amz-security-token:{key.token}'"
            )
        if key.denied:
            return f"User: {key.denied} is not authorized to perform: es:ESHttp{method.capitalize()}"
        self.passed.append(found["id"])
        return None

    def _signature(
        self, method: str, path: str, body: bytes, headers: dict[str, str], key: Key, found: re.Match[str]
    ) -> str:
        signed = {name: headers[name] for name in found["signed"].split(";") if name != "host"}
        request: Any = AWSRequest(method, f"https://{headers['host']}{path}", headers=signed, data=body)
        request.context["timestamp"] = headers["x-amz-date"]
        auth: Any = SigV4Auth(Credentials(found["id"], key.secret, key.token), self.service, self.region)
        canonical = auth.canonical_request(request)
        signature: str = auth.signature(auth.string_to_sign(request, canonical), request)
        return signature
