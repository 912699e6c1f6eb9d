"""What schemathesis has to be told about this protocol beside its configuration."""

import json
import os

import schemathesis

# The list below grows with what is found; only a long run, whose findings somebody reads, fails by it.
IS_LONG = "ANTIPODE_SCHEMATHESIS_SECONDS" in os.environ

# What a refusal of schema-valid data may say. CSBS answers 400, not 404 or 409, where a body names something that is not
# there or not in the right state; each such rule has a code of its own, except those below, which are about single fields.
# Everything else that refuses schema-valid data is a mistake in the document.
RULES_OF_SINGLE_FIELDS = (
    # It names what is not there.
    "marker: names nothing in this list",
    "there is no such project",
    "names no project",
    "must be roles that the token has in its project",
    "is not a paired region",
    "is not in the policy",
    "has no such scheduled operation",
    "which is not backed up",
    "names an extent that is not on volume",
    "volumes[",
    # Each part is in its limits, and all of them together are too many bytes.
    "body: is larger than",
    # It is the wrong one.
    "type the region's name",
    "the code is not the one",
    "invitation: ",
    "cannot be paired with itself",
    # It does not go together with another part of the body.
    "names one server twice",
    "names one volume or backup twice",
    "keys must be unique",
    "must hold at most 10 values, each once",
    "does not go with the action count",
    "holds at most one backup and one replication operation",
    "the type of an operation cannot change",
    "must be given with day_backups",
)


@schemathesis.hook
def filter_case(context, case):
    """An empty query parameter counts as left out, as consoles of CSBS send it: it is no wrong data."""
    is_negative = case.meta is not None and case.meta.generation.mode.is_negative
    return not (is_negative and any(value in ("", [], [""]) for value in (case.query or {}).values()))


@schemathesis.check
def schema_valid_data_breaks_only_rules_that_no_schema_can_state(ctx, response, case):
    is_positive = case.meta is not None and case.meta.generation.mode.is_positive
    if not IS_LONG or not is_positive or response.status_code != 400:
        return None
    refusal = json.loads(response.content)
    message = refusal["error_msg"]
    if refusal["error_code"] == "CSBS.9001" and not any(rule in message for rule in RULES_OF_SINGLE_FIELDS):
        raise AssertionError(f"schema-valid, but refused: {message}")
    return None
