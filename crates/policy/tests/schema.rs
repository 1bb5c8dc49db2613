//! The schema that we ship is the one that the program prints, and every example keeps it.
//!
//! `BLESS=1 cargo test -p mooring-policy --test schema` writes the copy anew.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn schema() -> Value {
    serde_json::from_str(&mooring_policy::schema()).expect("the schema is JSON")
}

fn parsed(text: &str) -> Value {
    toml::from_str(text).expect("an example is TOML")
}

/// What a text breaks of the schema, as far as the schema uses the language.
fn broken(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let keywords = schema.as_object().expect("a schema is an object");
    let each = keywords
        .iter()
        .flat_map(|(keyword, wanted)| keyword_broken(schema, keyword, wanted, value, path));
    each.collect()
}

fn keyword_broken(
    schema: &Value,
    keyword: &str,
    wanted: &Value,
    value: &Value,
    path: &str,
) -> Vec<String> {
    let ok = match keyword {
        "type" => is(value, wanted.as_str().expect("a name")),
        "const" => value == wanted,
        "enum" => wanted.as_array().expect("a list").contains(value),
        "minimum" => value.as_i64() >= wanted.as_i64(),
        "maximum" => value.as_i64() <= wanted.as_i64(),
        "required" => names(wanted).all(|name| value.get(name).is_some()),
        "additionalProperties" if wanted.is_object() => {
            let values = value.as_object().into_iter().flat_map(|table| table.values());
            { values }.all(|value| broken(wanted, value, path).is_empty())
        }
        "additionalProperties" => {
            keys(value).all(|key| wanted == true || schema["properties"].get(key).is_some())
        }
        "propertyNames" => keys(value).all(|key| broken(wanted, &json!(key), path).is_empty()),
        "anyOf" => {
            wanted.as_array().expect("a list").iter().any(|one| broken(one, value, path).is_empty())
        }
        "if" => {
            return match broken(wanted, value, path).is_empty() {
                true => broken(&schema["then"], value, path),
                false => Vec::new(),
            };
        }
        "allOf" => {
            let all = wanted.as_array().expect("a list").iter();
            return all.flat_map(|one| broken(one, value, path)).collect();
        }
        "properties" => {
            let all = wanted.as_object().expect("an object").iter();
            let found = all.filter_map(|(key, inner)| Some((key, inner, value.get(key)?)));
            return found
                .flat_map(|(key, inner, at)| broken(inner, at, &format!("{path}.{key}")))
                .collect();
        }
        "items" => {
            let list = value.as_array().into_iter().flatten().enumerate();
            return list
                .flat_map(|(n, item)| broken(wanted, item, &format!("{path}[{n}]")))
                .collect();
        }
        "then" | "description" | "default" | "title" | "$schema" => true,
        other => panic!("the schema uses `{other}`, which this test does not know"),
    };
    if ok { Vec::new() } else { vec![format!("{path}: {keyword}: {wanted}")] }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64(),
        other => panic!("the schema names the type `{other}`"),
    }
}

fn names(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn keys(table: &Value) -> impl Iterator<Item = &String> {
    table.as_object().into_iter().flat_map(|table| table.keys())
}

#[test]
fn the_copy_that_we_ship_is_what_the_program_prints() {
    let path = root().join("docs/configuration.schema.json");
    let printed = mooring_policy::schema();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &printed).expect("docs/ can be written");
    }
    let shipped = fs::read_to_string(&path).expect("docs/configuration.schema.json is there");
    assert_eq!(shipped, printed, "run it with BLESS=1");
}

#[test]
fn every_key_has_a_description_and_every_table_is_closed() {
    fn visit(schema: &Value, seen: &mut usize) {
        if let Some(properties) = schema["properties"].as_object() {
            assert_eq!(schema["additionalProperties"], false, "{schema}");
            for (key, inner) in properties {
                let about = inner["description"].as_str().unwrap_or_default();
                assert!(about.ends_with('.'), "{key}: {about:?}");
                *seen += 1;
                visit(inner, seen);
                visit(&inner["items"], seen);
            }
        }
    }
    let mut seen = 0;
    visit(&schema(), &mut seen);
    assert!(seen > 60, "only {seen} keys");
}

#[test]
fn defaults_keep_their_own_schema() {
    fn visit(schema: &Value) {
        if let Some(default) = schema.get("default") {
            assert_eq!(broken(schema, default, "default"), [""; 0], "{schema}");
        }
        for inner in schema["properties"].as_object().into_iter().flat_map(|all| all.values()) {
            visit(inner);
            visit(&inner["items"]);
        }
    }
    visit(&schema());
}

#[test]
fn every_example_keeps_the_schema() {
    let mut seen = 0;
    for entry in fs::read_dir(root().join("configs")).expect("configs/ is there") {
        let path = entry.expect("configs/ can be listed").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = fs::read_to_string(&path).expect("an example can be read");
            assert_eq!(broken(&schema(), &parsed(&text), ""), [""; 0], "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 8, "only {seen} examples");
}

#[test]
fn the_whole_language_keeps_the_schema() {
    assert_eq!(broken(&schema(), &parsed(include_str!("language.toml")), ""), [""; 0]);
}

/// So that a key cannot be forgotten there.
#[test]
fn the_whole_language_has_every_key() {
    fn visit(schema: &Value, written: &[&Value], path: &str, missing: &mut Vec<String>) {
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            let here: Vec<&Value> = written.iter().filter_map(|table| table.get(key)).collect();
            if here.is_empty() {
                missing.push(format!("{path}.{key}"));
                continue;
            }
            let tables = here.into_iter().flat_map(|value| match value.as_array() {
                Some(list) => list.iter().collect(),
                None => vec![value],
            });
            let tables: Vec<&Value> = tables.collect();
            let path = format!("{path}.{key}");
            visit(inner, &tables, &path, missing);
            visit(&inner["items"], &tables, &path, missing);
        }
    }
    let mut missing = Vec::new();
    visit(&schema(), &[&parsed(include_str!("language.toml"))], "", &mut missing);
    assert_eq!(missing, [""; 0]);
}

#[test]
fn mistakes_break_the_schema() {
    let rule = |keys: &str| {
        format!(
            "[[interface]]\nname = \"a\"\ndevice = \"b\"\naddresses = \"kernel\"\n[[rule]]\nname = \"r\"\n{keys}"
        )
    };
    assert_eq!(broken(&schema(), &parsed(&rule("kind = \"drop\"")), ""), [""; 0]);
    let mistakes = [
        ("kind = \"dorp\"", ".rule[0].kind: enum"),
        ("kind = \"drop\"\nfrm = \"a\"", ".rule[0]: additionalProperties"),
        ("kind = \"drop\"\npool = \"p\"", ".rule[0]: propertyNames"),
        ("kind = \"source-nat\"", ".rule[0]: required"),
        ("kind = \"drop\"\ndrain = 1", ".rule[0].drain: type"),
        ("kind = \"drop\"\nprotocol = 256", ".rule[0].protocol: anyOf"),
        ("kind = \"drop\"\n[limits]\nsessions = 0", ".limits.sessions: minimum"),
        ("kind = \"drop\"\n[apliance]", ": additionalProperties"),
    ];
    for (keys, expected) in mistakes {
        let said = broken(&schema(), &parsed(&rule(keys)), "");
        assert!(said.iter().any(|one| one.starts_with(expected)), "{keys}: {said:?}");
    }
}
