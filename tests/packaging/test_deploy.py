"""What deploy/ holds, by what dynaview is; validators of its kinds look at it in `test_validators`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from dynaview.views.declarations.load import load
from dynaview.views.http.health import Limits
from dynaview.views.http.metrics import ViewCollector
from dynaview.views.http.snapshot import Snapshots
from dynaview.views.states import ViewState
from tests.views.http.conftest import Served

from . import command_lines
from .conftest import Clone, run, validator

CHART = Path("deploy/helm/dynaview")

FOR = ("--namespace", "dynaview", "--kube-version", "1.31.0")
"""As `make manifests` calls helm."""


def template(clone: Clone, *options: str) -> list[dict[str, Any]]:
    """What the chart makes of values."""
    done = run(validator("helm"), "template", "dynaview", CHART, *FOR, *options, cwd=clone.root)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


# The manifests, and the chart that they are made from


@pytest.fixture(scope="module")
def manifests(clone: Clone) -> list[dict[str, Any]]:
    """The plain manifests."""
    text = (clone.root / "deploy/kubernetes/dynaview.yaml").read_text()
    return [each for each in yaml.safe_load_all(text) if each]


def of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The one manifest of a kind."""
    (found,) = [each for each in manifests if each["kind"] == kind]
    return found


def test_the_manifests_are_what_the_chart_makes(clone: Clone, manifests: list[dict[str, Any]]) -> None:
    assert template(clone) == manifests, "make manifests"


def test_the_default_values_are_what_their_schema_allows(clone: Clone) -> None:
    schema = json.loads((clone.root / CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    values = yaml.safe_load((clone.root / CHART / "values.yaml").read_text())
    jsonschema.validate(values, schema)
    assert values.keys() <= schema["properties"].keys()


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicas": 2},  # on an SQLite file
        {"replicas": 0},
        {"replica": 2},
        {"http": {"port": 80}},
        {"image": {}},
        {"env": {"A": 1}},
    ],
)
def test_values_that_cannot_be_meant_are_refused(clone: Clone, wrong: dict[str, Any]) -> None:
    schema = json.loads((clone.root / CHART / "values.schema.json").read_text())
    values = yaml.safe_load((clone.root / CHART / "values.yaml").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**values, **wrong}, schema)


def test_a_pod_can_do_as_little_as_it_needs(manifests: list[dict[str, Any]]) -> None:
    pod = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")} == {
        "/var/lib/dynaview",
        "/tmp",
    }


def test_the_user_is_that_of_the_image(clone: Clone, manifests: list[dict[str, Any]]) -> None:
    (user, group) = re.findall(r"^USER (\d+):(\d+)", (clone.root / "Dockerfile").read_text(), flags=re.MULTILINE)[0]
    context = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (int(user), int(group), int(group))


def test_probes_ask_what_is_served_and_none_kills_a_pod_for_its_views(manifests: list[dict[str, Any]]) -> None:
    (container,) = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness", "startup")}
    assert paths == {"liveness": "/livez", "readiness": "/readyz", "startup": "/livez"}


def test_the_version_is_that_of_the_project(clone: Clone) -> None:
    chart = yaml.safe_load((clone.root / CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == clone.project["project"]["version"]


def test_the_declaration_of_the_chart_is_a_good_one(manifests: list[dict[str, Any]], tmp_path: Path) -> None:
    file = tmp_path / "dynaview.yaml"
    file.write_text(of_kind(manifests, "ConfigMap")["data"]["dynaview.yaml"])
    variables = {"REDIS_URL": "redis://cache", "CONTROL_URL": "sqlite:////var/lib/dynaview/dynaview.db"}
    assert load([file], variables).views


def test_several_pods_share_a_control_store_in_postgres(clone: Clone) -> None:
    made = template(clone, "--set", "persistence.enabled=false", "--set", "replicas=3")
    pod = of_kind(made, "Deployment")["spec"]["template"]["spec"]
    assert "CONTROL_URL" not in json.dumps(pod)
    assert not [each for each in made if each["kind"] == "PersistentVolumeClaim"]
    refused = run(validator("helm"), "template", "x", CHART, *FOR, "--set", "replicas=3", cwd=clone.root)
    assert refused.returncode != 0
    assert "replicas" in refused.stderr


def test_what_is_there_already_is_used(clone: Clone) -> None:
    made = template(
        clone,
        *(
            "--set",
            "existingConfigMap=views",
            "--set",
            "existingSecret=urls",
            "--set",
            "persistence.existingClaim=claim",
        ),
        *("--set", "serviceAccount.create=false", "--set", "serviceMonitor.enabled=true", "--set", "env.AWS_REGION=eu"),
    )
    assert {each["kind"] for each in made} == {"Deployment", "Service", "PodDisruptionBudget", "ServiceMonitor"}
    text = json.dumps(of_kind(made, "Deployment"))
    assert all(f'"{name}"' in text for name in ("views", "urls", "claim", "AWS_REGION", "default"))


# Commands, in whatever file they stand


def wrong_in(line: str) -> str | None:
    """What is wrong with a command line of dynaview."""
    arguments = command_lines.arguments(line)
    assert arguments is not None
    return command_lines.problem(arguments)


def test_every_command_in_it_is_one_that_there_is(clone: Clone, manifests: list[dict[str, Any]]) -> None:
    unit = (clone.root / "deploy/systemd/dynaview.service").read_text()
    workflow = yaml.safe_load((clone.root / "deploy/github/dynaview.yml").read_text())
    lines = re.findall(r"^ExecStart(?:Pre)?=\S+/(dynaview .*)$", unit, flags=re.MULTILINE)
    lines += [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    (container,) = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    lines.append(" ".join(["dynaview", *container["args"]]))
    ours = [line for line in lines if line.startswith("dynaview ")]
    assert len(ours) == 6
    for line in ours:
        assert wrong_in(line) is None, line


# IAM


def test_the_policies_are_those_of_the_page_of_rights(clone: Clone) -> None:
    page = (clone.root / "docs" / "rights.md").read_text()
    blocks = re.findall(r"^```json\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    files = [
        (clone.root / "deploy/iam" / f"{name}.json").read_text()
        for name in (
            "follow",
            "enable",
            "export",
            "export-request",
            "lambda",
            "assume",
            "trust",
            "resource-table",
            "resource-stream",
            "rds",
            "opensearch",
            "opensearch-serverless",
        )
    ]
    assert files == blocks
    assert len([*(clone.root / "deploy/iam").iterdir()]) == len(files)
    for text in files:
        for statement in json.loads(text)["Statement"]:
            assert not any("*" in action for action in statement["Action"])
            assert statement.get("Resource") != "*"
            assert statement.get("Principal") != "*"


# Prometheus and Grafana


def families(tmp_path: Path) -> Iterator[tuple[str, set[str]]]:
    """The names of all metrics, each with its labels (none where it has no sample)."""
    served = Served(tmp_path)
    try:
        served.begin("card")
        for family in ViewCollector(Snapshots(served.control, ["card"]), Limits()).collect():
            labels = {label for sample in family.samples for label in sample.labels}
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield name, labels | {"view", "source", "sink"}
    finally:
        served.close()


def expressions(clone: Clone) -> dict[str, list[str]]:
    """All that is asked of Prometheus, by file."""
    rules = yaml.safe_load((clone.root / "deploy/prometheus/alerts.yaml").read_text())
    board = json.loads((clone.root / "deploy/grafana/dynaview.json").read_text())
    return {
        "alerts": [rule["expr"] for group in rules["groups"] for rule in group["rules"]],
        "dashboard": [each["expr"] for panel in board["panels"] for each in panel["targets"]]
        + [each["query"] for each in board["templating"]["list"] if each["type"] == "query"],
    }


def test_every_metric_that_is_asked_for_exists(clone: Clone, tmp_path: Path) -> None:
    known = dict(families(tmp_path))
    for file, asked in expressions(clone).items():
        named = {name for expression in asked for name in re.findall(r"\bdynaview_\w+", expression)}
        assert named, file
        assert named <= known.keys(), (file, named - known.keys())


def test_every_state_that_is_asked_for_exists(clone: Clone) -> None:
    text = " ".join(" ".join(asked) for asked in expressions(clone).values())
    states = set(re.findall(r'state!?="(\w+)"', text))
    assert {"gap", "following"} <= states <= {state.value for state in ViewState}


def test_alerts_say_what_to_do_with_commands_that_exist(clone: Clone) -> None:
    rules = yaml.safe_load((clone.root / "deploy/prometheus/alerts.yaml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        for command in re.findall(r"(dynaview (?:rebuild|repair|dead-letters list --view)) \{\{", str(rule)):
            assert wrong_in(f"{command} some_view") is None


def test_every_alert_is_tested_for_silence(clone: Clone) -> None:
    folder = clone.root / "deploy/prometheus"
    alerts = {
        each["alert"]
        for group in yaml.safe_load((folder / "alerts.yaml").read_text())["groups"]
        for each in group["rules"]
    }
    tests = yaml.safe_load((folder / "alerts_test.yaml").read_text())["tests"]
    quiet = {each["alertname"] for each in tests[-1]["alert_rule_test"] if not each["exp_alerts"]}
    assert alerts - quiet == {"DynaviewNotVerified"}  # which looks at the clock


def test_panels_of_the_dashboard_stand_beside_each_other(clone: Clone) -> None:
    panels = json.loads((clone.root / "deploy/grafana/dynaview.json").read_text())["panels"]
    taken = set[tuple[int, int]]()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)
