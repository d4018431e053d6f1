"""What a Lambda function is made of: the package of `make lambda`, and the template that deploys it."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from dynaview.views.aws_lambda.events import Schedule, recognise
from dynaview.views.declarations.load import load

from .conftest import Clone, run
from .test_wheel import run as run_bare

TEMPLATE = "deploy/lambda/template.yaml"


class Tagged(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation."""


Tagged.add_multi_constructor("!", lambda loader, tag, node: {tag: node.value})


def resources(clone: Clone) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load((clone.root / TEMPLATE).read_text(), Tagged)
    return found


def test_cloud_formation_finds_nothing_wrong(clone: Clone, tools: Path, tmp_path: Path) -> None:
    done = run(tools / "cfn-lint", "--regions", "eu-west-1", "--", clone.root / TEMPLATE, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    wrong = (clone.root / TEMPLATE).read_text().replace("SqsManagedSseEnabled", "SqsManagedSse")
    (tmp_path / "wrong.yaml").write_text(wrong)
    done = run(tools / "cfn-lint", "--regions", "eu-west-1", "--", tmp_path / "wrong.yaml", cwd=tmp_path)
    assert "SqsManagedSse" in done.stdout


def test_the_template_is_what_the_handler_needs(clone: Clone) -> None:
    found = resources(clone)
    module, _, name = found["Globals"]["Function"]["Handler"].rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
    batches, rounds = (found["Resources"][each]["Properties"] for each in ("Batches", "Rounds"))
    mapping = batches["Events"]["Changes"]["Properties"]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BisectBatchOnFunctionError"] is True
    assert rounds["Events"]["GivenUp"]["Type"] == mapping["DestinationConfig"]["OnFailure"]["Type"] == "SQS"
    queue = found["Resources"]["GivenUp"]["Properties"]
    assert queue["VisibilityTimeout"] >= 6 * rounds["Timeout"], "AWS's own advice for queues before functions"
    variables = found["Globals"]["Function"]["Environment"]["Variables"]
    assert {"DYNAVIEW_CONFIG", "CONTROL_URL"} <= variables.keys()
    page = (clone.root / "docs/how-to/lambda.md").read_text()
    assert f"lambda_timeout: {batches['Timeout']}s" in page
    told = found["Outputs"]["Rounds"]["Description"].rpartition(" with ")[2]
    assert isinstance(recognise(json.loads(told)), Schedule)


def test_the_functions_may_do_what_the_policies_say(clone: Clone) -> None:
    """The template grants no action on the table and its stream that deploy/iam does not."""
    granted = {
        action
        for each in ("Batches", "Rounds")
        for policy in resources(clone)["Resources"][each]["Properties"]["Policies"]
        for statement in policy["Statement"]
        for action in statement["Action"]
    }
    policies = [json.loads((clone.root / "deploy/iam" / f"{each}.json").read_text()) for each in ("follow", "lambda")]
    known = {action for policy in policies for statement in policy["Statement"] for action in statement["Action"]}
    assert granted == {action for action in known if action.startswith("dynamodb:")}


@pytest.fixture(scope="module")
def package(clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make lambda` makes, in a copy of the clone: building leaves traces that don't belong into a checkout."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE", "requirements-runtime.txt"):
        shutil.copy(clone.root / name, copy)
    for room in ("projections", "sinks", "sources", "local", "views"):
        shutil.copytree(clone.root / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYTHON"))}
    command = ["make", "-o", ".venv/.ready", "-o", ".venv/.uv", "lambda", f"BIN={Path(sys.executable).parent}"]
    done = subprocess.run(command, cwd=copy, env=bare, capture_output=True, text=True, timeout=200, check=False)
    if done.returncode and "error sending request" in done.stderr and os.environ.get("DYNAVIEW_REQUIRE_SERVERS") != "1":
        pytest.skip(f"needs PyPI: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return copy


PROBE = """
import sys
sys.path[:] = [sys.argv[1], *(path for path in sys.path if "packages" not in path)]
from dynaview.views.aws_lambda import function, rounds
from dynaview.views.aws_lambda.events import EventRefused
import boto3, psycopg, redis, opensearchpy
for module in (function, rounds, boto3, psycopg, redis, opensearchpy):
    assert module.__file__.startswith(sys.argv[1])
made = function.Function.of({"LAMBDA_TASK_ROOT": sys.argv[2]})
class Context:
    def get_remaining_time_in_millis(self):
        return 1000
try:
    made.handle({"Records": [{"eventSource": "aws:kinesis"}]}, Context())
except EventRefused as error:
    print(error)
made.close()
"""


def test_the_package_is_whole(package: Path, tmp_path: Path) -> None:
    """It runs by itself, unpacked as AWS does, and comes compiled: nothing can be written beside it there."""
    with zipfile.ZipFile(package / "dist/lambda.zip") as archive:
        archive.extractall(tmp_path / "task")
    size = (package / "dist/lambda.zip").stat().st_size
    whole = sum(path.stat().st_size for path in (tmp_path / "task").rglob("*") if path.is_file())
    assert size < 50e6, "AWS's limit of what is sent at once"
    assert whole < 250e6, "AWS's limit of what is unpacked"
    assert not any((tmp_path / "task").glob("setuptools*"))
    for module in ("dynaview/views/aws_lambda/function.py", "sqlalchemy/engine/base.py"):
        path = tmp_path / "task" / module
        assert list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))
    (tmp_path / "dynaview.yaml").write_text(
        """
        sources: {shop: {table: shop, lambda_timeout: 60s}}
        sinks: {cache: {redis: "redis://127.0.0.1:1"}}
        views: {card: {source: shop, sink: cache, type: hash, key: "card:{pk}", fields: {pk: pk}}}
        """
    )
    done = run_bare(sys.executable, "-B", "-c", PROBE, tmp_path / "task", tmp_path, cwd=tmp_path)
    assert "records of a Kinesis stream" in done.stdout, done.stderr


def test_the_image_is_that_folder(clone: Clone) -> None:
    """As far as it can be told without a Docker engine."""
    lines = (clone.root / "deploy/lambda/Dockerfile").read_text().splitlines()
    runtime = resources(clone)["Globals"]["Function"]["Runtime"].removeprefix("python")
    assert f"FROM public.ecr.aws/lambda/python:{runtime}" in lines
    assert 'CMD ["dynaview.views.aws_lambda.handler"]' in lines


def test_the_key_of_the_page_is_right(clone: Clone, tmp_path: Path) -> None:
    source = next(line for line in (clone.root / "docs/how-to/lambda.md").read_text().splitlines() if "  shop:" in line)
    text = "sinks: {cache: {redis: 'redis://cache'}}\nviews:\n"
    text += "  a: {source: shop, sink: cache, type: hash, key: 'a:{pk}', fields: {pk: pk}}\n"
    text += f"sources:\n{source}\n"
    (tmp_path / "dynaview.yaml").write_text(text)
    found = load([tmp_path / "dynaview.yaml"], {}).sources["shop"]
    assert (found.lambda_timeout, found.readers) == (60.0, 1)
