//! The JSON Schema of the configuration, for editors and other programs.
//!
//! It says what the keys are and which belong together; what values mean to each other (names that
//! exist, prefixes that do not overlap) only [`load`](crate::load) can say.

use serde_json::{Map, Value as Json, json};

use crate::keys::{Absent, Key, SECTIONS, Section, VERSION, Value};
use crate::model::RuleKind;

/// The JSON Schema (draft 7) of the configuration: indented, with a line feed at the end.
#[must_use]
pub fn schema() -> String {
    let mut properties = Map::new();
    properties.insert(VERSION.name.to_owned(), of_key(&VERSION));
    for section in SECTIONS {
        properties.insert(section.name.to_owned(), of_section(section));
    }
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Configuration of Mooring",
        "type": "object",
        "additionalProperties": false,
        "required": ["interface"],
        "properties": properties,
    });
    format!("{schema:#}\n")
}

fn of_section(section: &Section) -> Json {
    let mut table = of_keys(section.keys);
    if section.name == "rule" {
        table["allOf"] = RuleKind::ALL.iter().map(|kind| of_kind(*kind, section.keys)).collect();
    }
    if !section.repeated {
        table["description"] = json!(section.about);
        return table;
    }
    json!({ "description": section.about, "type": "array", "items": table })
}

fn of_keys(keys: &[Key]) -> Json {
    let properties = keys.iter().map(|key| (key.name.to_owned(), of_key(key)));
    let properties: Map<String, Json> = properties.collect();
    let required = keys.iter().filter(|key| matches!(key.default, Absent::Required));
    let required: Vec<&str> = required.map(|key| key.name).collect();
    let mut table = json!({ "type": "object", "additionalProperties": false });
    if !required.is_empty() {
        table["required"] = json!(required);
    }
    table["properties"] = Json::Object(properties);
    table
}

/// The keys of a kind of rules: those that it takes and those that it needs.
fn of_kind(kind: RuleKind, keys: &[Key]) -> Json {
    let names = keys.iter().map(|key| key.name);
    let taken: Vec<&str> = names.filter(|name| kind.takes(name)).collect();
    let needed = kind.keys().iter().filter(|name| !OPTIONAL.contains(name));
    let needed: Vec<&str> = needed.copied().collect();
    json!({
        "if": { "required": ["kind"], "properties": { "kind": { "const": kind.text() } } },
        "then": { "required": needed, "propertyNames": { "enum": taken } },
    })
}

/// Keys of a kind that may be absent.
const OPTIONAL: &[&str] = &["affinity_seconds", "allow", "deny", "limits"];

fn of_key(key: &Key) -> Json {
    let mut schema = of_value(&key.value);
    schema["description"] = match key.default {
        Absent::Means(words) if words != "none" => {
            json!(format!("{} Default: {words}.", key.about))
        }
        _ => json!(key.about),
    };
    if let Absent::Is(text) = key.default {
        schema["default"] = text.parse().unwrap_or(Json::Null);
    }
    schema
}

fn of_value(value: &Value) -> Json {
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    match value {
        Value::Text => json!({ "type": "string" }),
        Value::Flag => json!({ "type": "boolean" }),
        Value::Number(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
        Value::OneOf(words) => json!({ "type": "string", "enum": words }),
        Value::Texts => texts(),
        Value::TextOrNumber(from, to) => json!({
            "anyOf": [
                { "type": "string" },
                { "type": "integer", "minimum": from, "maximum": to },
            ],
        }),
        Value::Routes => json!({
            "anyOf": [
                { "const": "all" },
                texts(),
                { "type": "object", "additionalProperties": { "type": "string" } },
            ],
        }),
        Value::TextsOr(word) => json!({ "anyOf": [{ "const": word }, texts()] }),
        Value::Table(keys) => of_keys(keys),
        Value::Tables(keys) => json!({ "type": "array", "items": of_keys(keys) }),
    }
}
