"""The Dockerfile and docker-compose.yml, as far as they can be held to the rest without a Docker engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from . import command_lines
from .conftest import Clone

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


@pytest.fixture(scope="module")
def services(clone: Clone) -> dict[str, Any]:
    """The services of docker-compose.yml, anchors and merges resolved."""
    loaded: dict[str, Any] = yaml.safe_load((clone.root / "docker-compose.yml").read_text())
    return dict(loaded["services"])


def test_the_stack_is_the_daemon_and_the_four_stores(services: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in services.items()}
    assert images.pop("daemon") == images.pop("table") == "dynaview"
    assert images == {
        "dynamodb": "amazon/dynamodb-local:3.3.1",
        "redis": "redis:8.2.2",
        "opensearch": "opensearchproject/opensearch:3.8.0",
        "postgres": "postgres:18.4",
    }


def test_every_image_is_one_version(clone: Clone, services: dict[str, Any]) -> None:
    """A tag that moves would bring another server tomorrow than was tried today."""
    pulled = [service["image"] for service in services.values() if "build" not in service]
    bases = re.findall(r"^FROM (\S+)", (clone.root / "Dockerfile").read_text(), flags=re.MULTILINE)
    (python,) = re.findall(r"^ARG PYTHON=(\S+)", (clone.root / "Dockerfile").read_text(), flags=re.MULTILINE)
    images = [*pulled, *(base.replace("${PYTHON}", python) for base in bases)]
    assert [image for image in images if not re.search(r":\d+\.\d+\.\d+|^postgres:\d+\.\d+$|@sha256:", image)] == []


def test_every_container_can_do_as_little_as_it_needs(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["init"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        assert service["read_only"] is (name != "opensearch"), name
    assert {name: service["cap_add"] for name, service in services.items() if "cap_add" in service} == {
        "dynamodb": ["DAC_OVERRIDE"]
    }
    assert [name for name, service in services.items() if service.get("user") == "root"] == ["dynamodb"]


def test_whatever_is_waited_for_can_be_waited_for(services: dict[str, Any]) -> None:
    """A dependency without a health check, or a one-shot that is started again, would hold the stack up for ever."""
    for service in services.values():
        for name, dependency in service.get("depends_on", {}).items():
            if dependency["condition"] == "service_healthy":
                assert services[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
            else:
                assert dependency["condition"] == "service_completed_successfully"
                assert services[name]["restart"] == "no"
    assert "healthcheck" in services["daemon"]
    assert services["daemon"]["depends_on"].keys() == {"table", "redis", "opensearch", "postgres"}


def test_volumes_are_declared_and_mounted_files_exist(clone: Clone, services: dict[str, Any]) -> None:
    declared = yaml.safe_load((clone.root / "docker-compose.yml").read_text())["volumes"]
    mounted = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    assert {name for name in mounted if not name.startswith(".")} == declared.keys()
    assert all((clone.root / name).exists() for name in mounted if name.startswith("."))
    assert (clone.root / "examples" / "shop.yaml").is_file()


def test_ports_are_open_to_this_machine_only(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_daemon_is_given_every_variable_that_the_example_asks_for(clone: Clone, services: dict[str, Any]) -> None:
    """Those without a default. Of those with one, the control store stays a file in the working folder: a volume."""
    asked = set(re.findall(r"\$\{(\w+)\}", (clone.root / "examples" / "shop.yaml").read_text()))
    assert {"REDIS_URL", "OPENSEARCH_URL", "DATABASE_URL"} <= asked
    assert asked - services["daemon"]["environment"].keys() == set()


def instructions(clone: Clone) -> list[str]:
    """The instructions of the Dockerfile, one a line."""
    text = (clone.root / "Dockerfile").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_daemons_command_lines_exist(clone: Clone, services: dict[str, Any]) -> None:
    """The image's own command and health check, and the compose file's, are lines that dynaview takes, on the file
    that is mounted."""
    daemon = services["daemon"]
    lines = [daemon["healthcheck"]["test"][1:]]
    lines += [json.loads(line[line.index("[") :]) for line in instructions(clone) if "CMD [" in line]
    assert [line.pop(0) for line in lines if line[0] == "dynaview"] == ["dynaview", "dynaview"]
    assert sorted(line[0] for line in lines) == ["run", "status", "status"]
    mounted = {volume.split(":")[1] for volume in daemon["volumes"]}
    for line in lines:
        assert command_lines.problem(line) is None
        assert line[line.index("-f") + 1] in mounted


def test_the_table_is_made_with_its_stream_and_only_once(
    services: dict[str, Any], dynamodb_endpoint: str, dynamodb: DynamoDBClient
) -> None:
    """The one-shot, run as the container would run it, against a real DynamoDB Local."""
    service = services["table"]
    assert service["entrypoint"] == ["python", "-c"]
    assert service["environment"]["TABLE"] == "shop"
    table = f"shop-{uuid.uuid4()}"
    environment = service["environment"] | {"AWS_ENDPOINT_URL": dynamodb_endpoint, "TABLE": table}
    for _ in range(2):
        command = [sys.executable, "-c", *service["command"]]
        subprocess.run(command, env=os.environ | environment, check=True, timeout=60)
    made = dynamodb.describe_table(TableName=table)["Table"]
    assert made["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert [key["AttributeName"] for key in made["KeySchema"]] == ["pk", "sk"]
    dynamodb.delete_table(TableName=table)


def test_the_image_is_made_of_files_that_exist_and_are_sent(clone: Clone, rooms: tuple[str, ...]) -> None:
    """What the Dockerfile copies exists, and .dockerignore lets exactly that through."""
    lines = instructions(clone)
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    copied = {name for names in copies for name in names}
    ignore = (clone.root / ".dockerignore").read_text().splitlines()
    assert copied == {line[1:] for line in ignore if line.startswith("!")}
    assert copied >= {*rooms, "pyproject.toml", "requirements-runtime.txt"}
    assert all((clone.root / name).exists() for name in copied)
    assert 'ENTRYPOINT ["dynaview"]' in lines
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]


def test_the_image_installs_the_lock_and_nothing_more(clone: Clone) -> None:
    """What opensearch-py asks for without importing it is in the lock of development only."""
    (install,) = [line for line in instructions(clone) if "requirements-runtime.txt" in line and line.startswith("RUN")]
    assert "--require-hashes" in install
    assert "--no-deps" in install
    runtime = (clone.root / "requirements-runtime.txt").read_text()
    assert re.findall(r"^(grpcio|protobuf|opensearch-protobufs)==", runtime, flags=re.MULTILINE) == []
