"""Rules of the API that OpenAPI has no words for.

They concern right requests that are refused for what OpenAPI can't say of them. An answer that the document does not have, and
a wrong request that is done, always fail.
"""

import json
import re

import requests
import schemathesis
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
    if isinstance(case.body, (dict, list)):
        case.body = whole(case.body)
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


def whole(value):
    """134.0 is an integer by JSON Schema, which few programs send; ids and counts are not read from it."""
    if isinstance(value, dict):
        return {name: whole(member) for name, member in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53
    return int(value) if is_whole else value


@schemathesis.hook
def before_call(context, case, kwargs):
    """A change feed is asked for what there is now: a stream never ends, and a long wait is only long."""
    query = case.query or {}
    if case.operation.path.endswith("/_changes") and WAIT.fullmatch(str(query.get("_wait", "60s"))):
        case.query = {**query, "_wait": "0"}


def problem(response):
    """The problem of an answer. That to HEAD has no body, so GET is asked why."""
    if response.request.method != "HEAD":
        return response.json()
    headers = {name: value for name, value in response.request.headers.items()}
    return requests.get(response.request.url, headers=headers).json()


@schemathesis.hook
def filter_failure(context, failure, case, response):
    path = case.operation.path
    if isinstance(failure, RejectedPositiveData):
        told = problem(response)
        codes = [violation["code"] for violation in told.get("violations", [])] or [told["code"]]
        allowed = set(REFUSED_IN_A_BATCH if path == "/_batch" else REFUSED)
        # A PUT that merges needs the whole record if there is none.
        if path in ("/authors/{id}", "/_batch"):
            allowed.add("required")
        return any(code not in allowed for code in codes)
    if isinstance(failure, AcceptedNegativeData):
        # In a resource with any members, an object in a filter is on the way to one.
        if path.startswith("/authors") and "/properties/filter/" in failure.message and "became object" in failure.message:
            return False
        # The methods are told for any id.
        return response.status_code not in REFUSED_BEFORE and case.method != "OPTIONS"
    if isinstance(failure, MissingHeaderNotRejected):
        # RFC 6585 has a status of its own for a missing If-Match.
        return response.status_code != 428
    if isinstance(failure, UseAfterFree):
        # A history is told after the deletion, too, and methods are allowed whether there is a record or not.
        return not path.endswith("/_history") and case.method != "OPTIONS"
    return True
