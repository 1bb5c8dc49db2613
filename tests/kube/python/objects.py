"""YAML to JSON, and JSON against schemas.

objects.py load FILE...              the documents of the files ("-": of the standard input), a JSON list
objects.py problems SCHEMAS VERSION...   reads a JSON list of objects; prints what does not fit the schemas
                                     of these versions of Kubernetes, or for kinds that are not Kubernetes'
                                     own the file SCHEMAS/KIND.json, as a JSON list of lines
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


def problems(schemas, versions):
    found = []
    for item in json.load(sys.stdin):
        name = f"{item.get('kind')}/{item.get('metadata', {}).get('name')}"
        own = pathlib.Path(schemas) / f"{str(item.get('kind')).lower()}.json"
        if own.exists():
            schema = json.loads(own.read_text())
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
        result = problems(arguments[0], arguments[1:])
    json.dump(result, sys.stdout)
