//! `docs/configuration.md` lists every key as the tables of `keys` say, and they say what is read.
//!
//! `BLESS=1 cargo test -p mooring-policy reference` writes the tables anew.

use std::fs;
use std::path::Path;

use crate::keys::{Absent, Key, SECTIONS, Section, VERSION, Value};
use crate::load;
use crate::model::RuleKind;

/// The tables of the reference: every key with its type, default and meaning.
fn reference() -> String {
    let mut text = String::from("## Top level\n\n");
    keys(&[VERSION], "", &mut text);
    for section in SECTIONS {
        let (open, close) = if section.repeated { ("[[", "]]") } else { ("[", "]") };
        text.push_str(&format!("\n## `{open}{}{close}`\n\n{}\n\n", section.name, section.about));
        keys(section.keys, "", &mut text);
        if section.name == "rule" {
            kinds(&mut text);
        }
    }
    text
}

/// A table, the keys of inline tables behind theirs.
fn keys(keys: &[Key], prefix: &str, text: &mut String) {
    if prefix.is_empty() {
        text.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    }
    for key in keys {
        let default = match key.default {
            Absent::Required => "required".to_owned(),
            Absent::Is(value) => format!("`{value}`"),
            Absent::Means(words) => words.to_owned(),
        };
        let (name, about) = (key.name, key.about);
        let line = format!("| `{prefix}{name}` | {} | {default} | {about} |\n", of(&key.value));
        text.push_str(&line);
        if let Value::Table(inner) | Value::Tables(inner) = key.value {
            self::keys(inner, &format!("{prefix}{name}."), text);
        }
    }
}

/// Which keys belong to which kind of rules.
fn kinds(text: &mut String) {
    text.push_str("\n| kind | its keys | conditions |\n|---|---|---|\n");
    for kind in RuleKind::ALL {
        let list = |keys: &[&str]| match keys {
            [] => "-".to_owned(),
            keys => format!("`{}`", keys.join("`, `")),
        };
        let (own, conditions) = (list(kind.keys()), list(kind.conditions()));
        text.push_str(&format!("| `{}` | {own} | {conditions} |\n", kind.text()));
    }
}

fn of(value: &Value) -> String {
    match value {
        Value::Text => "string".to_owned(),
        Value::Flag => "true or false".to_owned(),
        Value::Number(from, to) => format!("{from} to {to}"),
        Value::OneOf(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(", ")
        }
        Value::Texts => "list of strings".to_owned(),
        Value::TextOrNumber(from, to) => format!("string, or {from} to {to}"),
        Value::TextsOr(word) => format!("list of strings, or `\"{word}\"`"),
        Value::Routes => "`\"all\"`, list of names, or table of labels".to_owned(),
        Value::Table(_) => "inline table".to_owned(),
        Value::Tables(_) => "list of inline tables".to_owned(),
    }
}

/// What follows this line in the document is written by the test.
const MARK: &str = "<!-- The tables below are made of crates/policy/src/keys.rs. -->\n\n";

#[test]
fn the_reference_says_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text = fs::read_to_string(&path).expect("docs/configuration.md is there");
    let (head, tables) = text.split_once(MARK).expect("it has the mark");
    if std::env::var_os("BLESS").is_some() {
        let text = format!("{head}{MARK}{}", reference());
        fs::write(&path, text).expect("docs/configuration.md can be written");
        return;
    }
    assert_eq!(tables, reference(), "run it with BLESS=1");
}

/// What stands in back quotes in the hint to a mistake of `text`.
fn known(text: &str) -> Vec<String> {
    let problems = load(text).expect_err("the mistake is reported").0;
    let mistake = problems.iter().find(|problem| problem.message.contains(UNKNOWN));
    let hint = mistake.and_then(|problem| problem.hint.as_ref()).expect("it has a hint");
    hint.split(['`', '"']).skip(1).step_by(2).map(str::to_owned).collect()
}

const UNKNOWN: &str = "not-a-word-of-this-language";

fn header(section: &Section) -> String {
    if section.repeated { format!("[[{}]]", section.name) } else { format!("[{}]", section.name) }
}

#[test]
fn the_tables_name_the_keys_that_are_read() {
    let sections: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
    let top = [&[VERSION.name], sections.as_slice()].concat();
    assert_eq!(known(&format!("{UNKNOWN} = 1")), top);
    for section in SECTIONS {
        let names: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
        assert_eq!(known(&format!("{}\n{UNKNOWN} = 1", header(section))), names);
    }
}

#[test]
fn the_tables_name_the_words_that_are_read() {
    for section in SECTIONS {
        for key in section.keys {
            let Value::OneOf(words) = key.value else { continue };
            let text = format!("{}\n{} = \"{UNKNOWN}\"", header(section), key.name);
            assert_eq!(known(&text), words, "{text}");
        }
    }
}

#[test]
fn the_tables_name_the_bounds_that_are_kept() {
    for section in SECTIONS {
        for key in section.keys {
            let Value::Number(from, to) = key.value else { continue };
            let refused = |number: i64| {
                let text = format!("{}\n{} = {number}", header(section), key.name);
                let Err(problems) = load(&text) else { return false };
                let message = format!("`{}` cannot be {number}", key.name);
                problems.0.iter().any(|problem| problem.message == message)
            };
            if matches!(key.name, "affinity_seconds") {
                continue; // of a kind that is not read yet
            }
            let all = [from - 1, from, to, to + 1].map(refused);
            assert_eq!(all, [true, false, false, true], "{} {}", section.name, key.name);
        }
    }
}
