"""Rules of the API that OpenAPI has no words for.

They concern right requests that are refused for what OpenAPI can't say of them. An answer that the document does not have, and
a wrong request that is done, always fail.
"""

import json
import re

import requests
import schemathesis
import schemathesis.transport.requests as transport
from schemathesis.core.transport import read_event_stream
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import (
    MissingHeaderNotRejected,
    RejectedPositiveData,
    UseAfterFree,
)

# The codes of problems, and of violations, with which a right request may be refused.
REFUSED = {
    "key_reused": "the same Idempotency-Key was sent before with another request",
    "precondition_failed": "the record has another entity tag",
    "precondition_required": "the document says that the operation is always refused where each change needs an entity tag",
    "patch_misfit": "the record does not have what the patch changes",
    "history_gone": "the position in the feed is one of another store, or of the future",
    "too_many_matches": "more records match than the request allows to be changed",
    "ref": "there is no record with the id that a reference has",
    "inexact_number": "a schema has no words for how many digits a number may have",
    "invalid_patch": "a value can't be moved into itself",
    "uri_too_long": "a schema has no words for the length of all parameters together",
}
# In a batch, a path has a query within a text, and operations may depend on each other.
REFUSED_IN_A_BATCH = {"invalid_parameter", *REFUSED}
# A wrong request may be refused for another reason first: a position, an entity tag, a length.
REFUSED_BEFORE = (410, 412, 413, 414, 431)

# Only the first one of these that is there may be sent, but for pairs.
PARTS = ["range", "_page", "_after", "_end", "_start"]
WITH_LIMIT = ["_page", "_after", "_start"]
# The times that a request for changes may wait.
WAIT = re.compile("([1-5]?[0-9]|60)s?")


@schemathesis.hook
def map_case(context, case):
    """Parameters that exclude each other are not sent together, and what must be in order is."""
    if not case.meta.generation.mode.is_positive:
        return case
    if case.method in ("PATCH", "DELETE") and "{" not in case.operation.path:
        of_matching(case)
    query = case.query
    if not query:
        return case
    parts = [name for name in PARTS if name in query]
    for name in parts[1:]:
        del query[name]
    if parts and parts[0] not in WITH_LIMIT:
        query.pop("_limit", None)
        query.pop("_per_page", None)
    for name, excluded in [("_limit", "_per_page"), ("sort", "_sort"), ("sort", "_order")]:
        if name in query:
            query.pop(excluded, None)
    # Names are told from each other by commas, so none has one here.
    for name in ("_sort", "_fields"):
        if isinstance(query.get(name), list):
            query[name] = [str(item).replace(",", "") or "id" for item in query[name]]
    if "_sort" not in query:
        query.pop("_order", None)
    elif "_order" in query:
        sent = query["_order"]
        query["_order"] = sent.split(",")[0] if isinstance(sent, str) else sent[:1]
    # A position is one that a list gave; this is the one before all records.
    if "_after" in query:
        query["_after"] = ""
    if "range" in query:
        sent = query["range"]
        query["range"] = json.dumps(sorted(json.loads(sent) if isinstance(sent, str) else sent))
    return case


def of_matching(case):
    """A change of all that match has a filter and a bound, or an example of what is to be deleted, and not both."""
    if case.method == "DELETE" and isinstance(case.body, dict):
        case.query = {}
        return
    case.query = {**(case.query or {}), "id": ["1"]}
    if "max-affected" not in (case.headers or {}).get("Prefer", ""):
        case.headers = {**(case.headers or {}), "Prefer": "max-affected=9"}


@schemathesis.hook
def before_call(context, case, kwargs):
    """A request for changes does not wait: a long wait is only long."""
    query = case.query or {}
    if case.operation.path.endswith("/_changes") and WAIT.fullmatch(str(query.get("_wait"))):
        case.query = {**query, "_wait": "0"}


def begin_of_stream(chunks, timeout, max_events):
    """A stream of events never ends: what comes at once is looked at, and there is something in any case."""
    return read_event_stream(chunks, 1e-6, max_events)


transport.read_event_stream = begin_of_stream


@schemathesis.check
def events(ctx, response, case):
    """Each event is one of those that the document names."""
    kind, = response.headers.get("content-type", [""])
    if kind != "text/event-stream" or case.method == "HEAD":
        return
    blocks = response.content.decode().split("\n\n")
    # What was cut short is no event.
    for block in blocks[:-1]:
        fields = {}
        for line in block.split("\n"):
            name, value = line.split(":", 1)
            fields[name] = fields.get(name, "") + value.removeprefix(" ")
        assert set(fields) <= {"", "id", "event", "data"} and "id" in fields, block
        if "data" not in fields:
            continue
        assert fields["event"] in ("create", "update", "delete", "reset"), block
        data = json.loads(fields["data"])
        if fields["event"] == "reset":
            continue
        assert set(data) == {"id", "revision", "record"} and isinstance(data["revision"], int), block
        assert (data["record"] is None) == (fields["event"] == "delete"), block


def problem(response):
    """The problem of an answer. That to HEAD has no body, so GET is asked why."""
    if response.request.method != "HEAD":
        return response.json()
    headers = {name: value for name, value in response.request.headers.items()}
    return requests.get(response.request.url, headers=headers).json()


@schemathesis.hook
def filter_failure(context, failure, case, response):
    path = case.operation.path
    # An empty id makes another path.
    if "" in (case.path_parameters or {}).values():
        return False
    if isinstance(failure, RejectedPositiveData):
        told = problem(response)
        codes = [violation["code"] for violation in told.get("violations", [])] or [told["code"]]
        allowed = set(REFUSED_IN_A_BATCH if path == "/_batch" else REFUSED)
        # A PUT that merges needs the whole record if there is none.
        if path in ("/authors/{id}", "/_batch"):
            allowed.add("required")
        return any(code not in allowed for code in codes)
    if isinstance(failure, AcceptedNegativeData):
        # The methods are told for any id.
        return response.status_code not in REFUSED_BEFORE and case.method != "OPTIONS"
    if isinstance(failure, MissingHeaderNotRejected):
        # RFC 6585 has a status of its own for a missing If-Match.
        return response.status_code != 428
    if isinstance(failure, UseAfterFree):
        # A history is told after the deletion, too, and methods are allowed whether there is a record or not.
        return not path.endswith("/_history") and case.method != "OPTIONS"
    return True
