"""A stand-in for OpenSearch Serverless in front of a real OpenSearch: it refuses what is not in Serverless' list of
operations, places and refreshes indexes by itself, and breaks on request what its documentation does not promise.

    with opened(opensearch_url) as line:
        line.before = Serverless(opensearch_url).answer

What a collection really does beyond its documentation, it cannot know.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.sinks.opensearch.line import Answer

_NAME = r"[^/_][^/]*"
_ALLOWED = [
    re.compile(pattern)
    for pattern in (
        rf"(?:PUT|GET|HEAD|DELETE) /{_NAME}",
        rf"(?:GET|PUT|POST) /{_NAME}/_mappings?",
        rf"GET /{_NAME}/_settings",
        rf"POST /(?:{_NAME}/)?_bulk",
        rf"(?:PUT|POST) /{_NAME}/_(?:doc|create|update)/[^/]+",
        rf"(?:GET|HEAD|DELETE) /{_NAME}/_doc/[^/]+",
        rf"(?:GET|POST) /(?:{_NAME}/)?_(?:search|mget|count)",
        rf"POST /{_NAME}/_search/point_in_time",
        r"DELETE /_search/point_in_time",
        r"POST /_aliases",
        rf"GET /(?:{_NAME}/)?_alias(?:/{_NAME})?",
        r"GET /_cat/indices",
    )
]
_PARAMETERS = frozenset({"require_alias", "filter_path", "allow_partial_search_results", "keep_alive"})

NOTHING = Answer(404)
"""As Serverless answers what it does not have."""


def refused(type: str, reason: str) -> Answer:
    return Answer(400, {"error": {"type": type, "reason": reason}, "status": 400})


class Serverless:
    """One collection. `broken` names what does not hold of what nobody promises: ``ids`` (a collection for time series
    or vector search), ``create``, ``if_seq_no``, ``numbers`` (answers without them), ``updates`` (which read what was),
    ``require_alias``, ``filters`` (of aliases)."""

    def __init__(self, server: str, broken: Collection[str] = (), refresh: str = "100ms", shards: int = 2) -> None:
        self.broken = broken
        self.refusals: list[str] = []
        """What was asked and refused."""
        self._address = urlsplit(server)
        self.settings = {"number_of_shards": shards, "number_of_replicas": 0, "refresh_interval": refresh}
        """Of every index that is made."""
        self.settings["translog.durability"] = "async"

    def answer(self, method: str, target: str, body: bytes) -> Answer:
        path, _, query = target.partition("?")
        parameters = dict(parse_qsl(query, keep_blank_values=True))
        if (no := self._refusal(method, path, parameters, body)) is not None:
            self.refusals.append(f"{method} {target}")
            return no
        if path.endswith("/_bulk"):
            return self._bulk(path, parameters, body)
        if method == "PUT" and path.count("/") == 1:
            made = json.loads(body)
            made["settings"] = made.get("settings", {}) | self.settings
            body = json.dumps(made).encode()
        elif path == "/_aliases" and "filters" in self.broken:
            made = json.loads(body)
            for action in made["actions"]:
                action.get("add", {}).pop("filter", None)
            body = json.dumps(made).encode()
        elif path.endswith("/_mget"):
            parameters["realtime"] = "false"
        return self._pass_on(method, path, parameters, body)

    def _refusal(self, method: str, path: str, parameters: dict[str, str], body: bytes) -> Answer | None:
        if not any(pattern.fullmatch(f"{method} {path}") for pattern in _ALLOWED):
            return NOTHING
        if unknown := sorted(set(parameters) - _PARAMETERS):
            return refused("illegal_argument_exception", f"unsupported parameters {unknown}")
        if b'"script"' in body:
            return refused("illegal_argument_exception", "scripts are not supported")
        if method == "PUT" and path.count("/") == 1:
            taken = [name for name in json.loads(body).get("settings", {}) if "number_of" in name or "refresh" in name]
            if taken:
                return refused("illegal_argument_exception", f"unsupported settings {taken}")
        if path == "/_aliases" and any(
            "*" in action["index"] for each in json.loads(body)["actions"] for action in each.values()
        ):
            return refused("illegal_argument_exception", "patterns are not supported")
        return None

    def _bulk(self, path: str, parameters: dict[str, str], body: bytes) -> Answer:
        lines = [line for line in body.split(b"\n") if line]
        sent: list[bytes] = []
        at = 0
        while at < len(lines):
            ((action, options),) = json.loads(lines[at]).items()
            if "ids" in self.broken and action in ("create", "index") and "_id" in options:
                reason = "Document ID is not supported in create/index operation request"
                error = {"type": "illegal_argument_exception", "reason": reason}
                return Answer(200, {"errors": True, "items": [{action: {"status": 400, "error": error}}]})
            if "if_seq_no" in self.broken:
                options = {name: value for name, value in options.items() if not name.startswith("if_")}
            named = "index" if action == "create" and "create" in self.broken else action
            sent.append(json.dumps({named: options}).encode())
            if action != "delete":
                sent.append(lines[at + 1])
            at += 1 if action == "delete" else 2
        if "require_alias" in self.broken:
            parameters = {name: value for name, value in parameters.items() if name != "require_alias"}
        answer = self._pass_on("POST", path, parameters, b"\n".join([*sent, b""]))
        return self._changed(answer, lines) if {"numbers", "updates", "create"} & {*self.broken} else answer

    def _changed(self, answer: Answer, lines: list[bytes]) -> Answer:
        said = json.loads(answer.body)
        actions = [line for line in (json.loads(line) for line in lines) if {*line} & {"create", "index", "delete"}]
        for number, entry in enumerate(said.get("items", ())):
            ((name, item),) = entry.items()
            if "create" in self.broken and name == "index" and number < len(actions) and "create" in actions[number]:
                entry["create"] = entry.pop("index")
            if "numbers" in self.broken:
                item.pop("_seq_no", None)
            if "updates" in self.broken and "get" in item:
                item["get"]["_source"]["_v"] = "1"
        return Answer(answer.status, said)

    def _pass_on(self, method: str, path: str, parameters: dict[str, str], body: bytes) -> Answer:
        connection = http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=60)
        target = f"{path}?{urlencode(parameters)}" if parameters else path
        try:
            connection.request(method, target, body or None, {"content-type": "application/json"})
            response = connection.getresponse()
            return Answer(response.status, response.read().decode())
        finally:
            connection.close()


def options_of(region: str = "eu-west-1") -> dict[str, Any]:
    """Options of a sink at the other end of the line."""
    return {"auth": "aws", "service": "aoss", "region": region, "timeout": 20}
