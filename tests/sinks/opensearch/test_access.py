"""Signed requests, basic authentication and client certificates, against a gate that looks at every signature."""

from __future__ import annotations

import json
import os
import ssl
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dynaview.projections.rows import Layout, Write
from dynaview.sinks.aws import signing_of
from dynaview.sinks.opensearch import OpenSearchSink
from dynaview.sinks.port import APPLIED, SinkRefused, SinkUnavailable
from tests.sinks.opensearch.line import Answer, Line, opened
from tests.support.sigv4 import Gate, Key

REGION = "eu-west-1"
SECRET = "wJalrXUtnFEMIsecret"
ARN = "arn:aws:sts::123456789012:assumed-role/views/one"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")  # nobody says who we are
    return monkeypatch


@contextmanager
def gated(server: str, certificate: Path, gate: Gate) -> Iterator[Line]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with opened(server, tls) as line:

        def look(method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer | None:
            refusal = gate.refusal(method, path, body, headers)
            return Answer(403, {"message": refusal}) if refusal else None

        line.gate = look
        yield line


@pytest.fixture
def gate() -> Gate:
    return Gate("es", REGION, {"AKIA1": Key(SECRET, "token1")})


@pytest.fixture
def guarded(opensearch_url: str, certificate: Path, gate: Gate) -> Iterator[Line]:
    with gated(opensearch_url, certificate, gate) as line:
        yield line


def sink_at(line: Line, certificate: Path, **options: Any) -> OpenSearchSink:
    given = {"auth": "aws", "service": "es", "region": REGION} | options
    return OpenSearchSink("search", line.url, {"ca_file": str(certificate), "timeout": 20} | given)


def put(key: str, version: int) -> Write:
    return Write(key, ("a name", None, version), version)


def test_every_request_is_signed_for_what_aws_computes(
    guarded: Line, gate: Gate, certificate: Path, aws: pytest.MonkeyPatch, layout: Callable[..., Layout]
) -> None:
    sink = sink_at(guarded, certificate)
    assert sink.check().startswith("OpenSearch ")
    assert sink.dangers() == [] or all(danger.what for danger in sink.dangers())
    made = layout()
    assert sink.problems(made) == []
    target = sink.open(made, 1)
    target.prepare(bulk=True)
    keys = [f"a key/{n} é,*%2F?" for n in range(3)]
    assert target.write([put(key, 1) for key in keys]) == [APPLIED] * 3
    assert target.finish() == []
    target.publish()
    assert sorted(row.key for row in target.rows()) == sorted(keys)
    assert target.count() == 3
    assert [row.version for row in target.read(keys) if row] == [1, 1, 1]
    sink.room(made, 1)
    target.drop()
    sink.close()
    assert set(gate.passed) == {"AKIA1"}
    assert len(gate.passed) == len(guarded.seen)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"region": "us-east-1"}, "Credential should be scoped to a valid region"),
        ({"service": "aoss"}, r"Credential should be scoped to correct service: 'es'"),
    ],
)
def test_a_wrong_region_or_service_is_said(
    options: dict[str, str], said: str, guarded: Line, certificate: Path, aws: pytest.MonkeyPatch
) -> None:
    sink = sink_at(guarded, certificate, **options)
    with pytest.raises(SinkRefused, match=f"{said}.*(es:ESHttp|aoss:APIAccessAll).*check region and service") as error:
        sink.open(Layout("orders", (), (), _options("orders")), 1).prepare()
    sink.close()
    assert SECRET not in str(error.value)
    assert "token1" not in str(error.value)


def _options(index: str) -> Any:
    from dynaview.projections.rows import OpenSearchOptions

    return OpenSearchOptions(index, {}, {})


def test_a_wrong_secret_shows_nothing_of_what_was_signed(
    guarded: Line, certificate: Path, aws: pytest.MonkeyPatch
) -> None:
    aws.setenv("AWS_SECRET_ACCESS_KEY", "another")
    sink = sink_at(guarded, certificate)
    with pytest.raises(SinkRefused, match="signature we calculated does not match") as error:
        sink.check()
    sink.close()
    assert "token1" not in str(error.value)


def test_a_missing_right_names_the_action_and_the_principal(
    guarded: Line, gate: Gate, certificate: Path, aws: pytest.MonkeyPatch
) -> None:
    gate.keys["AKIA1"].denied = ARN
    sink = sink_at(guarded, certificate)
    with pytest.raises(SinkRefused, match=f"{ARN} is not authorized to perform: es:ESHttpGet.*es:ESHttp\\*"):
        sink.check()
    sink.close()


def test_the_principal_is_asked_of_aws(guarded: Line, gate: Gate, certificate: Path, aws: pytest.MonkeyPatch) -> None:
    said = (
        "<GetCallerIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><GetCallerIdentityResult>"
        f"<Arn>{ARN}</Arn><UserId>x</UserId><Account>123456789012</Account></GetCallerIdentityResult>"
        "</GetCallerIdentityResponse>"
    )
    gate.keys.clear()
    with opened("http://127.0.0.1:9") as sts:
        sts.before = lambda *_: Answer(200, said)
        aws.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        for service, action in (("es", r"es:ESHttp\*"), ("aoss", "aoss:APIAccessAll")):
            gate.service = service
            sink = sink_at(guarded, certificate, service=service)
            with pytest.raises(SinkRefused, match=f"{action} on the [a-z]+ to {ARN}"):
                sink.check()
            sink.close()


def test_expired_credentials_are_looked_for_anew_and_the_request_is_sent_again(
    guarded: Line, gate: Gate, certificate: Path, aws: pytest.MonkeyPatch, layout: Callable[..., Layout]
) -> None:
    sink = sink_at(guarded, certificate)
    target = sink.open(layout(), 1)
    target.prepare()
    assert target.write([put("a", 1)]) == [APPLIED]
    gate.keys["AKIA1"].expired = True
    with pytest.raises(SinkRefused, match="token included in the request is expired"):
        target.write([put("b", 1)])
    gate.keys["AKIA2"] = Key("secret two", "token2")
    for name, value in (("ACCESS_KEY_ID", "AKIA2"), ("SECRET_ACCESS_KEY", "secret two"), ("SESSION_TOKEN", "token2")):
        aws.setenv(f"AWS_{name}", value)
    assert target.write([put("b", 1)]) == [APPLIED]
    assert gate.passed[-1] == "AKIA2"
    sink.close()


def test_credentials_that_end_are_renewed_before_they_do(
    guarded: Line,
    gate: Gate,
    certificate: Path,
    aws: pytest.MonkeyPatch,
    tmp_path: Path,
    layout: Callable[..., Layout],
) -> None:
    """A process that gives credentials for some minutes, as roles do: botocore asks again before they end."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"):
        aws.delenv(f"AWS_{name}")
    given = tmp_path / "given"
    script = tmp_path / "credentials"
    script.write_text(
        f"#!{sys.executable}\n"
        "import datetime, json, pathlib\n"
        f"given = pathlib.Path({str(given)!r})\n"
        "number = len(given.read_text()) + 1 if given.exists() else 1\n"
        "given.write_text('x' * number)\n"
        "until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'ASIA{number}', 'SecretAccessKey': f'secret{number}',\n"
        "    'SessionToken': f'token{number}', 'Expiration': until.isoformat()}))\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IEXEC)
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = {script}\n")
    aws.setenv("AWS_CONFIG_FILE", str(config))
    gate.keys = {f"ASIA{n}": Key(f"secret{n}", f"token{n}", expired=False) for n in range(1, 60)}
    sink = sink_at(guarded, certificate)
    target = sink.open(layout(), 1)
    target.prepare()
    first = gate.passed[-1]
    gate.keys[first].expired = True
    assert target.write([put("a", 1)]) == [APPLIED]
    assert gate.passed[-1] != first
    sink.close()


def test_no_credentials_and_a_giver_that_is_away_are_told_apart(
    guarded: Line, certificate: Path, aws: pytest.MonkeyPatch
) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"):
        aws.delenv(f"AWS_{name}")
    sink = sink_at(guarded, certificate)
    with pytest.raises(SinkRefused, match="no AWS credentials are found: give the process a role"):
        sink.check()
    aws.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(SinkRefused, match=r"cannot be had \(ProfileNotFound\)"):
        sink.check()
    sink.close()
    assert guarded.seen == []


def test_a_user_and_password_are_sent_as_they_are_meant(opensearch_url: str) -> None:
    with opened(opensearch_url) as line:
        sink = OpenSearchSink("search", line.url.replace("://", "://a%40b:p%2Fw@"), {})
        sink.check()
        sink.close()
    assert line.seen[0][2]["authorization"] == "Basic YUBiOnAvdw=="


def test_a_client_certificate_is_shown(opensearch_url: str, certificate: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(certificate)
    text = certificate.read_text()
    cut = text.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----\n")
    alone = certificate.with_name("alone.pem")
    alone.write_text(text[:cut])
    known = {"ca_file": str(certificate)}
    with opened(opensearch_url, tls) as line:
        for options in (
            {"client_cert_file": str(certificate)},
            {"client_cert_file": str(alone), "client_key_file": str(certificate.with_name("key.pem"))},
        ):
            sink = OpenSearchSink("search", line.url, known | options)
            assert sink.check().startswith("OpenSearch ")
            sink.close()
        sink = OpenSearchSink("search", line.url, known)
        with pytest.raises(SinkUnavailable):
            sink.check()
        sink.close()


@pytest.mark.parametrize(
    ("host", "service", "region"),
    [
        ("search-shop-abc123.eu-west-1.es.amazonaws.com", "es", "eu-west-1"),
        ("vpc-shop-abc123.us-gov-west-1.es.amazonaws.com", "es", "us-gov-west-1"),
        ("search-shop.cn-north-1.es.amazonaws.com.cn", "es", "cn-north-1"),
        ("search-shop.aos.us-east-1.on.aws", "es", "us-east-1"),
        ("x7.ap-southeast-2.aoss.amazonaws.com", "aoss", "ap-southeast-2"),
        ("x7.us-east-1.aoss-fips.amazonaws.com", "aoss", "us-east-1"),
        ("x7.aoss-fips.us-east-1.amazonaws.com", "aoss", "us-east-1"),
    ],
)
def test_service_and_region_are_found_from_the_host(host: str, service: str, region: str) -> None:
    assert signing_of(host, {}) == (service, region)
    assert signing_of(host, {"service": service, "region": region}) == (service, region)
    with pytest.raises(ValueError, match=f"which is in {region}"):
        signing_of(host, {"region": "eu-north-1"})
    with pytest.raises(ValueError, match=f"which is of service {service}"):
        signing_of(host, {"service": {"es": "aoss", "aoss": "es"}[service]})


AWS = {"auth": "aws", "service": "es", "region": REGION}


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("https://search.example.com", {"auth": "aws"}, "does not tell service and region: name service"),
        ("https://search.example.com", {"auth": "aws", "service": "es"}, "does not tell region"),
        ("http://search.example.com", AWS, "needs an encrypted line: write https://"),
        ("https://u:p@search.example.com", AWS, "takes the place of user and password"),
        ("https://search.example.com", {"region": REGION}, "region say for what.*write auth: aws beside"),
        ("https://x", {"client_key_file": "/k.pem"}, "client_key_file without client_cert_file"),
        ("https://x", {"client_cert_file": "/nowhere.pem"}, "no client_cert_file /nowhere.pem"),
        ("https://x", {"client_cert_file": os.devnull, "verify": False}, "leave verify: false out"),
        ("http://x", {"client_cert_file": os.devnull}, "over TLS only"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_remedy(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        OpenSearchSink("search", url, options)


def test_the_secret_is_not_in_what_the_sink_shows(aws: pytest.MonkeyPatch) -> None:
    sink = OpenSearchSink("search", "https://search.example.com", AWS)
    assert SECRET not in json.dumps(repr(vars(sink)))
    sink.close()
