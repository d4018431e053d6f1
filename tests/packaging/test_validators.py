"""What deploy/ holds, by the validators of its kinds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.views.http.conftest import Served

from .conftest import Clone, run, validator

CHART = "deploy/helm/dynaview"
VALUES = ("--namespace", "dynaview", "--kube-version", "1.31.0")
NEWEST = "1.37.0"
KUBERNETES = ("1.31.0", NEWEST)
"""The one that manifests are made for, and the newest whose schema the validator brings."""


# Kubernetes


def test_helm_finds_nothing_wrong_with_the_chart(clone: Clone) -> None:
    done = run(validator("helm"), "lint", "--strict", CHART, cwd=clone.root)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_all_that_the_manifests_say(clone: Clone, tools: Path, version: str) -> None:
    file = "deploy/kubernetes/dynaview.yaml"
    done = run(tools / "kubernetes-validate", "--strict", "-k", version, file, cwd=clone.root)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert f"passed for resource deployment/dynaview against version {version.rpartition('.')[0]}" in said


def test_kubernetes_knows_all_that_the_chart_makes_of_other_values(clone: Clone, tools: Path, tmp_path: Path) -> None:
    options = ("--set", "persistence.enabled=false", "--set", "replicas=3", "--set", "env.AWS_REGION=eu-west-1")
    made = run(validator("helm"), "template", "dynaview", CHART, *VALUES, *options, cwd=clone.root)
    assert made.returncode == 0, made.stderr
    (tmp_path / "made.yaml").write_text(made.stdout)
    done = run(tools / "kubernetes-validate", "--strict", "-k", NEWEST, tmp_path / "made.yaml", cwd=clone.root)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_kubernetes_does_not_know_is_found(clone: Clone, tools: Path, tmp_path: Path) -> None:
    text = (clone.root / "deploy/kubernetes/dynaview.yaml").read_text()
    (tmp_path / "wrong.yaml").write_text(text.replace("readinessProbe:", "readynessProbe:"))
    done = run(tools / "kubernetes-validate", "--strict", "-k", NEWEST, tmp_path / "wrong.yaml", cwd=clone.root)
    assert done.returncode != 0


# AWS


def cloud_formation(tools: Path, folder: Path, template: dict[str, Any]) -> str:
    """What cfn-lint says of a template."""
    (folder / "template.json").write_text(json.dumps(template))
    done = run(tools / "cfn-lint", "--regions", "eu-west-1", "--", folder / "template.json", cwd=folder)
    return done.stdout + done.stderr


def _resource(policy: dict[str, Any]) -> dict[str, Any]:
    """What a policy is attached to: a user or role, a role as whom may assume it, or a table as whom may read it."""
    first = policy["Statement"][0]
    if "Principal" not in first:
        return {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": policy}}
    if "Resource" not in first:
        return {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": policy}}
    key = {"AttributeName": "pk"}
    table = {
        "AttributeDefinitions": [{**key, "AttributeType": "S"}],
        "KeySchema": [{**key, "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
        "ResourcePolicy": {"PolicyDocument": policy},
    }
    kept = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
    return {"Type": "AWS::DynamoDB::Table", "Properties": table, **kept}


def test_aws_knows_the_actions_and_resources_of_the_policies(clone: Clone, tools: Path, tmp_path: Path) -> None:
    """As managed policies of a template: cfn-lint checks their form, and each action by AWS's own list."""
    names = {"ACCOUNT": "123456789012", "REGION": "eu-west-1", "OURS": "210987654321"}
    policies: dict[str, Any] = {}
    for file in sorted((clone.root / "deploy/iam").glob("*.json")):
        text = re.sub("|".join(names), lambda found: names[found[0]], file.read_text())
        policies[re.sub(r"\W", "", file.stem)] = json.loads(text)
    assert policies
    kinds = {name: _resource(policy) for name, policy in policies.items()}
    template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": kinds}
    assert cloud_formation(tools, tmp_path, template) == ""
    policies["follow"]["Statement"][0]["Action"].append("dynamodb:Scam")
    assert "scam" in cloud_formation(tools, tmp_path, template)


# systemd


def test_systemd_finds_nothing_wrong_with_the_unit(clone: Clone, tmp_path: Path) -> None:
    analyze = validator("systemd-analyze")
    unit = (clone.root / "deploy/systemd/dynaview.service").read_text()
    (tmp_path / "dynaview.service").write_text(unit.replace("/opt/dynaview/bin/dynaview", "/bin/true"))
    done = run(analyze, "verify", "--man=no", tmp_path / "dynaview.service", cwd=tmp_path)
    assert "dynaview.service" not in done.stderr, done.stderr
    level = run(analyze, "security", "--offline=yes", "--threshold=25", tmp_path / "dynaview.service", cwd=tmp_path)
    assert level.returncode == 0, level.stdout[-300:]


# Prometheus


def test_promtool_accepts_the_alerts_and_their_tests_pass(clone: Clone) -> None:
    promtool, folder = validator("promtool"), clone.root / "deploy/prometheus"
    for command in (("check", "rules", "alerts.yaml"), ("test", "rules", "alerts_test.yaml")):
        done = run(promtool, *command, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_nothing_wrong_with_the_metrics_that_are_served(tmp_path: Path) -> None:
    promtool, served = validator("promtool"), Served(tmp_path)
    try:
        served.begin("card")
        text = served.ask("/metrics").text
    finally:
        served.close()
    done = run(promtool, "check", "metrics", cwd=tmp_path, given=text)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = run(promtool, "check", "metrics", cwd=tmp_path, given=text.replace(" gauge\n", " gouge\n"))
    assert broken.returncode != 0


# Packages and workflows


def test_packages_are_as_an_index_wants_them(clone: Clone, tools: Path, tmp_path: Path) -> None:
    assert (tools / "twine").is_file()
    done = run("make", "dist", f"DIST={tmp_path}", cwd=clone.root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.name != ".gitignore") == [".gz", ".whl"]


def test_the_workflow_is_one_of_github(clone: Clone, tools: Path) -> None:
    schema = ("--builtin-schema", "vendor.github-workflows")
    checked = run(tools / "check-jsonschema", *schema, "deploy/github/dynaview.yml", cwd=clone.root)
    assert checked.returncode == 0, checked.stdout


def test_actionlint_finds_nothing_wrong_with_the_workflow(clone: Clone, tmp_path: Path) -> None:
    """It also reads expressions and the inputs of actions, which no schema knows."""
    actionlint, file = validator("actionlint"), clone.root / "deploy/github/dynaview.yml"
    done = run(actionlint, "-no-color", "-shellcheck=", "-pyflakes=", file, cwd=clone.root)
    assert done.returncode == 0, done.stdout
    wrong = yaml.safe_load(file.read_text())
    next(iter(wrong["jobs"].values()))["steps"][0]["with"] = {"nothing-like-it": 1}
    (tmp_path / "wrong.yml").write_text(yaml.safe_dump({"on" if key is True else key: wrong[key] for key in wrong}))
    assert run(actionlint, "-no-color", tmp_path / "wrong.yml", cwd=clone.root).returncode != 0
