"""Checks a job's input against a schema of types, defaults and constraints; the words of the errors are the SDK's."""

from __future__ import annotations

import json
from typing import Any


def validate(raw_input: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """`{"validated_input": {…}}`, or `{"errors": ["…"]}`. A rule given as JSON text is replaced in the schema, as the SDK does."""
    errors = [f"Unexpected input. {key} is not a valid input option." for key in raw_input if key not in schema]
    for key, rules in schema.items():
        if isinstance(rules, dict):
            continue
        try:
            schema[key] = json.loads(rules)
        except json.decoder.JSONDecodeError:
            errors.append(f"Schema error, {key} is not a dictionary.")
    values = raw_input.copy()
    for key, rules in schema.items():
        errors.extend(_require(key, rules, raw_input, values))
    for key, rules in schema.items():
        errors.extend(_check(key, rules, values))
    return {"errors": errors} if errors else {"validated_input": values}


def _require(key: str, rules: Any, raw_input: dict[str, Any], values: dict[str, Any]) -> list[str]:
    errors = []
    if "type" not in rules:
        errors.append(f"Schema error, missing type for {key}.")
    if "required" not in rules:
        errors.append(f"{key} is a required input.")
    elif key not in raw_input:
        if rules["required"]:
            errors.append(f"{key} is a required input.")
        elif "default" in rules:
            values[key] = rules["default"]
        else:
            errors.append(f"Schema error, missing default value for {key}.")
    return errors


def _check(key: str, rules: Any, values: dict[str, Any]) -> list[str]:
    errors = []
    if key in values:
        try:
            if rules["type"] is float and type(values[key]) in (int, float):
                values[key] = float(values[key])
        except TypeError:
            return []
        # A value of the default's own type is not looked at any further, its constraints neither.
        if "default" in rules and isinstance(values[key], type(rules["default"])):
            return []
        if not isinstance(values[key], rules["type"]):
            errors.append(f"{key} should be {rules['type']} type, not {type(values[key])}.")
    if "constraints" in rules and not rules["constraints"](values.get(key)):
        errors.append(f"{key} does not meet the constraints.")
    return errors
