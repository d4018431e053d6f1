"""The OpenAPI document of the API, written by hand: the routes are few, and a test holds it to them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from dynaview.views.http.actions import ACTIONS
from dynaview.views.http.letters import ACTIONS as LETTER_ACTIONS

_NULLABLE_NUMBER = {"type": ["number", "null"]}

_STATUS: dict[str, Any] = {
    "type": "object",
    "description": "A view as dynaview status --json prints it, with its health. Times are seconds since 1970.",
    "required": ["view", "source", "sink", "state", "reason", "lag", "watermark", "counts", "ok", "problem"],
    "properties": {
        "view": {"type": "string"},
        "source": {"type": "string"},
        "sink": {"type": "string"},
        "generation": {"type": "integer"},
        "state": {"type": "string"},
        "reason": {"type": "string"},
        "lag": {**_NULLABLE_NUMBER, "description": "Seconds behind the tip of the stream; null: not known."},
        "watermark": _NULLABLE_NUMBER,
        "counts": {
            "type": "object",
            "required": ["read", "applied", "stale", "unmatched", "dead_lettered"],
            "additionalProperties": {"type": "integer"},
        },
        "paused": {**_NULLABLE_NUMBER, "description": "Since when it is paused; null: it is not."},
        "retention_left": {
            **_NULLABLE_NUMBER,
            "description": "Seconds until DynamoDB trims what the view has not read; null: not known.",
        },
        "dead_letters": {"type": "integer", "description": "How many are kept now."},
        "ok": {"type": "boolean"},
        "problem": {"type": "string", "description": "What is wrong and what to do; empty where all is well."},
        "rebuild": {"type": ["object", "null"], "description": "The last rebuild."},
        "verified": {"type": ["object", "null"], "description": "The last verification."},
    },
}

_LETTER: dict[str, Any] = {
    "type": "object",
    "required": ["id", "view", "item_key", "row_key", "version", "shard", "time", "created", "kind", "reason"],
    "properties": {
        "id": {"type": "integer"},
        "view": {"type": "string"},
        "item_key": {"type": "string"},
        "row_key": {"type": "string"},
        "version": {"type": "string", "description": "Digits: too large for a JSON number."},
        "shard": {"type": "string"},
        "time": {"type": "number"},
        "created": {"type": "number"},
        "kind": {"type": "string"},
        "reason": {"type": "string"},
    },
}


_DECLARED: dict[str, Any] = {
    "type": "object",
    "required": ["view", "at", "declared", "state", "do", "changes"],
    "properties": {
        "view": {"type": "string"},
        "at": {"type": ["string", "null"], "description": "File and line; null: it is not declared any more."},
        "declared": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "value"],
                "properties": {"path": {"type": "string"}, "value": {"type": "string"}},
            },
        },
        "state": {"enum": ["new", "unchanged", "changed", "removed"]},
        "do": {"type": "string", "description": "What follows, with the command; empty where nothing does."},
        "changes": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "key", "before", "after"],
                "properties": {
                    "path": {"type": "string"},
                    "key": {"type": ["string", "null"], "description": "What of a field differs."},
                    "before": {"type": ["string", "null"]},
                    "after": {"type": ["string", "null"]},
                },
            },
        },
    },
}


_TASK: dict[str, Any] = {
    "type": "object",
    "required": ["id", "kind", "view", "state", "asked", "updated", "seconds", "done", "expected", "error", "result"],
    "properties": {
        "id": {"type": "string"},
        "kind": {"type": "string", "enum": ["verify", "repair", "replay", "prune"]},
        "view": {"type": ["string", "null"]},
        "state": {"type": "string", "enum": ["queued", "running", "done", "failed", "cancelled", "lost"]},
        "asked": {"type": "number"},
        "updated": {"type": "number"},
        "seconds": {"type": "number"},
        "done": {"type": "integer", "description": "How far it is, of about `expected`; 0: not known."},
        "expected": {"type": "integer"},
        "error": {"type": "string", "description": "Why it failed; empty where it did not."},
        "result": {"description": "What the command prints with --json; null before the end."},
    },
}


def _answer(text: str, schema: dict[str, Any] | None = None, kind: str = "application/json") -> dict[str, Any]:
    return {"description": text, "content": {kind: {"schema": schema or {"type": "object"}}}}


def _get(text: str, answers: dict[str, Any], *parameters: dict[str, Any], token: bool = False) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": text, "parameters": list(parameters), "responses": answers}
    if token:
        operation["security"] = [{"token": []}]
    return {"get": operation}


def _post(text: str, body: dict[str, Any], answers: dict[str, Any], *parameters: dict[str, Any]) -> dict[str, Any]:
    request = {"content": {"application/json": {"schema": {"type": "object", "properties": body}}}}
    return {
        "post": {
            "summary": text,
            "parameters": list(parameters),
            "requestBody": request,
            "responses": answers,
            "security": [{"token": []}],
        }
    }


def _in_path(name: str, kind: str = "string", values: list[str] | None = None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": kind, **({"enum": values} if values else {})}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(name: str, kind: str = "string") -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": kind}}


def document() -> dict[str, Any]:
    """The document."""
    error = {"$ref": "#/components/schemas/Error"}
    status = {"$ref": "#/components/schemas/Status"}
    views = {
        "type": "object",
        "required": ["at", "ok", "error", "views", "missing", "writable"],
        "properties": {"views": {"type": "array", "items": status}},
    }
    letter = {"$ref": "#/components/schemas/DeadLetter"}
    letters = {
        "type": "object",
        "required": ["total", "dead_letters"],
        "properties": {"total": {"type": "integer"}, "dead_letters": {"type": "array", "items": letter}},
    }
    refused = {
        "400": _answer("The body or a parameter is not what it should be.", error),
        "401": _answer("The bearer token is missing or wrong.", error),
        "403": _answer("No token is set for this server, or a page of another site asks.", error),
    }
    unknown = {"404": _answer("There is no such view, action or letter.", error)}
    chosen = {
        "ids": {"type": "array", "items": {"type": "integer"}},
        **{name: {"type": "string"} for name in ("view", "key", "kind", "reason")},
    }
    rebuild = {
        "segments": {"type": "integer"},
        "max_read_units": {"type": "number"},
        "keep": {"type": "number", "description": "Seconds for which the generation before it is kept."},
        "yes": {"type": "boolean"},
    }
    verify = {
        "sample": {"type": "number", "description": "Only about this share of the items, up to 1."},
        "keys": {"type": "array", "items": {"type": "string"}, "description": "Row keys, and item keys as JSON."},
        "since": {"type": "number", "description": "Only items changed since then (seconds since 1970)."},
        "foreign": {"type": "boolean", "description": "Of a repair: also remove what dynaview did not put there."},
    }
    task = {"$ref": "#/components/schemas/Task"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "dynaview", "version": version("dynaview"), "license": {"name": "Apache-2.0"}},
        "paths": {
            "/livez": _get("Whether the process answers.", {"200": _answer("It does.")}),
            "/readyz": _get(
                "Whether every declared view was started and the control store answers.",
                {"200": _answer("Yes."), "503": _answer("No; `reason` says why.")},
            ),
            "/health": _get(
                "Whether every view is right and near the tip of its stream.",
                {"200": _answer("All are."), "503": _answer("Some are not; each view's `reason` says why.")},
            ),
            "/metrics": _get(
                "Metrics for Prometheus.", {"200": _answer("The metrics.", {"type": "string"}, "text/plain")}
            ),
            "/api/openapi.json": _get("This document.", {"200": _answer("It.")}),
            "/api/status": _get("All views.", {"200": _answer("All views.", views)}),
            "/api/events": _get(
                "All views once a second, as server-sent events.",
                {
                    "200": _answer("A stream.", {"type": "string"}, "text/event-stream"),
                    "503": _answer("Too many.", error),
                },
            ),
            "/api/views/{view}": _get(
                "One view with its shards.", {"200": _answer("The view.", status), **unknown}, _in_path("view")
            ),
            "/api/views/{view}/{action}": _post(
                "Ask for a rebuild, answer or cancel it, roll back, pause, resume; verify or repair as a task.",
                {**rebuild, **verify, "reason": {"type": "string", "description": "Of a pause."}},
                {
                    "202": _answer("It is asked for; `task` says which task does it, where one does."),
                    **refused,
                    **unknown,
                    "409": _answer("Not now.", error),
                    "503": _answer("Too many tasks wait, or the control store is away.", error),
                },
                _in_path("view"),
                _in_path("action", values=list(ACTIONS)),
            ),
            "/api/views/{view}/declaration": _get(
                "How a view is declared, and what is otherwise than what built its rows.",
                {"200": _answer("The declaration.", {"$ref": "#/components/schemas/Declared"}), **unknown},
                _in_path("view"),
            ),
            "/api/views/{view}/preview": _post(
                "The rows that a view would make of an item. Nothing is written. Exactly one of the three is given.",
                {
                    "item": {"type": "string", "description": "An item: JSON or DynamoDB JSON, as text."},
                    "key": {"type": "string", "description": "The key of an item of the table: JSON, as text."},
                    "limit": {"type": "integer", "description": "So many items of the table that match."},
                },
                {
                    "200": _answer("As dynaview preview --json prints it."),
                    **refused,
                    **unknown,
                    "503": _answer("The table does not answer.", error),
                },
                _in_path("view"),
            ),
            "/api/views/{view}/wait": _get(
                "Wait until a view shows what was written up to a time (by default: now), or a version of one row.",
                {
                    "200": _answer("It does."),
                    **unknown,
                    "400": refused["400"],
                    "409": _answer("Its state lasts, so waiting is of no use.", error),
                    "503": _answer("Too many wait already.", error),
                    "504": _answer("Not within the time-out; it says how far the view was.", error),
                },
                _in_path("view"),
                _in_query("until", "number"),
                _in_query("key"),
                _in_query("version"),
                _in_query("searchable", "boolean"),
                _in_query("timeout", "number"),
            ),
            "/api/trace": _post(
                "Follow one item through the views.",
                {
                    "key": {"type": ["object", "string"], "description": "The item's key, or its JSON as text."},
                    "views": {"type": "array", "items": {"type": "string"}},
                    "values": {"type": "boolean", "description": "Also what is in the item and in the rows."},
                },
                {"200": _answer("What became of it."), **refused, **unknown, "503": _answer("Too many wait.", error)},
            ),
            "/api/tasks": _get(
                "Tasks, newest first, without their results.",
                {
                    "200": _answer(
                        "They.", {"type": "object", "properties": {"tasks": {"type": "array", "items": task}}}
                    )
                },
            ),
            "/api/tasks/{task}": _get(
                "One task with its progress, and its result once it has ended.",
                {"200": _answer("It.", task), **unknown},
                _in_path("task"),
            ),
            "/api/tasks/{task}/cancel": _post(
                "Let a task end as soon as it can.",
                {},
                {"200": _answer("It is asked for.", task), **refused, "409": _answer("It has ended.", error)},
                _in_path("task"),
            ),
            "/api/dead-letters": _get(
                "Dead letters, oldest first, without what is in the items.",
                {"200": _answer("A page of them.", letters), "400": refused["400"]},
                *(_in_query(name) for name in ("view", "key", "kind", "reason")),
                _in_query("limit", "integer"),
                _in_query("after", "integer"),
            ),
            "/api/dead-letters/{id}": _get(
                "One dead letter with its change: what is in the item.",
                {"200": _answer("The letter.", letter), **refused, **unknown},
                _in_path("id", "integer"),
                token=True,
            ),
            "/api/dead-letters/{action}": _post(
                "Discard dead letters for good, or have them replayed or pruned by a task.",
                chosen,
                {"200": _answer("How many were discarded."), "202": _answer("The task."), **refused, **unknown},
                _in_path("action", values=list(LETTER_ACTIONS)),
            ),
        },
        "components": {
            "schemas": {
                "Status": _STATUS,
                "DeadLetter": _LETTER,
                "Declared": _DECLARED,
                "Task": _TASK,
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {"error": {"type": "string", "description": "What happened and what to do."}},
                },
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
