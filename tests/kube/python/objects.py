"""YAML to JSON, and JSON against schemas.

objects.py load FILE...              the documents of the files ("-": of the standard input), a JSON list
objects.py problems SCHEMAS DEFINITIONS VERSION...   reads a JSON list of objects; prints what does not fit
                                     the schemas of these versions of Kubernetes, as a JSON list of lines. For
                                     kinds that are not Kubernetes' own: a definition in DEFINITIONS/*.yaml,
                                     or SCHEMAS/KIND.json
"""

import functools
import json
import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml
from kubernetes_validate import utils

# A megabyte of JSON each, read for every object otherwise.
utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)


class Strict(yaml.SafeLoader):
    """Refuses a mapping that has a key twice, of which YAML parsers silently drop one."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            value = self.construct_object(key, deep=True)
            if value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {value!r} is there twice", key.start_mark
                )
            seen.add(value)
        return super().construct_mapping(node, deep)


def load(names):
    documents = []
    for name in names:
        text = sys.stdin.read() if name == "-" else pathlib.Path(name).read_text()
        try:
            documents += [d for d in yaml.load_all(text, Loader=Strict) if d is not None]
        except yaml.YAMLError as error:
            raise SystemExit(f"{name}: {error}")
    return documents


def closed(schema):
    """A schema of a definition that refuses fields which the API server would drop."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        schema.setdefault("additionalProperties", False)
    return schema


def own_kinds(schemas, definitions):
    """The schemas of kinds that are not Kubernetes' own."""
    found = {}
    for file in pathlib.Path(schemas).glob("*.json"):
        found[file.stem] = json.loads(file.read_text())
    for definition in load(sorted(pathlib.Path(definitions).glob("*.yaml"))):
        schema = closed(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        # Kubernetes' own part of every object.
        schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {}}
        found[definition["spec"]["names"]["kind"].lower()] = schema
    return found


def problems(schemas, definitions, versions):
    found = []
    kinds = own_kinds(schemas, definitions)
    for item in json.load(sys.stdin):
        name = f"{item.get('kind')}/{item.get('metadata', {}).get('name')}"
        schema = kinds.get(str(item.get("kind")).lower())
        if schema:
            for error in jsonschema.Draft202012Validator(schema).iter_errors(item):
                found.append(f"{name}: {error.json_path}: {error.message}")
            continue
        for version in versions:
            try:
                if kubernetes_validate.validate(item, version, strict=True) != version:
                    found.append(f"{name}: there are no schemas of {version}")
            except kubernetes_validate.ValidationError as error:
                found.append(f"{name}: {version}: {error.json_path}: {error.message}")
            except kubernetes_validate.SchemaNotFoundError as error:
                found.append(f"{name}: {error.message}")
    return found


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    if verb == "load":
        result = load(arguments)
    else:
        result = problems(arguments[0], arguments[1], arguments[2:])
    json.dump(result, sys.stdout)
