//! From text to [`Model`]: TOML syntax, known keys, types of values.
//!
//! Each table is read on its own, and in it each key that cannot be read is reported and struck out
//! before the rest is read again, so that one mistake does not hide the next.

use std::ops::Range;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IntoDeserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use crate::model::{Element, Model};
use crate::report::{Report, did_you_mean};
use crate::unsupported;

/// Reads a whole text. `None` if it is not TOML.
pub(crate) fn read(text: &str, report: &mut Report<'_>) -> Option<Model> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let (message, hint) = match error.message() {
            DUPLICATE => ("this key or table is written twice", "remove or rename one of the two"),
            other => (other, "this is not TOML: see https://toml.io for the syntax"),
        };
        report.error(error.span().unwrap_or(0..0), message, hint);
    }
    if errors.iter().any(|error| error.message() != DUPLICATE) {
        return None;
    }
    let mut model = Model::default();
    for (key, value) in document.into_inner() {
        let at = key.span();
        match key.get_ref().as_ref() {
            "version" => model.version = version(value, report),
            "appliance" => model.appliance = table("[appliance]", at, value, report),
            "control" => model.control = table("[control]", at, value, report),
            "interface" => model.interfaces = tables("[[interface]]", at, value, report),
            "route" => model.routes = tables("[[route]]", at, value, report),
            "pool" => model.pools = tables("[[pool]]", at, value, report),
            "rule" => model.rules = tables("[[rule]]", at, value, report),
            "service" => model.services = tables("[[service]]", at, value, report),
            "timeouts" => model.timeouts = table("[timeouts]", at, value, report),
            "tcp" => model.tcp = table("[tcp]", at, value, report),
            "limits" => model.limits = table("[limits]", at, value, report),
            unknown => {
                let hint = did_you_mean(unknown, SECTIONS, "keys and tables");
                report.error(at, format!("unknown key `{unknown}`"), hint);
            }
        }
    }
    Some(model)
}

fn version(value: Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Spanned<i64>> {
    let at = value.span();
    let read = Spanned::deserialize(value.into_deserializer());
    read.map_err(|error| {
        let (message, hint) = explain("version", "", &error);
        report.error(at, message, hint);
    })
    .ok()
}

/// A section of which there is one.
fn table<T: Default + DeserializeOwned>(
    section: &'static str,
    key: Range<usize>,
    value: Spanned<DeValue<'_>>,
    report: &mut Report<'_>,
) -> Element<T> {
    let at = value.span();
    let keys = as_table(section, key, value, report);
    keys.map(|keys| element(section, at, keys, report)).unwrap_or_default()
}

/// A section that may be repeated.
fn tables<T: Default + DeserializeOwned>(
    section: &'static str,
    key: Range<usize>,
    value: Spanned<DeValue<'_>>,
    report: &mut Report<'_>,
) -> Vec<Element<T>> {
    let at = value.span();
    let list = match value.into_inner() {
        DeValue::Array(list) => list,
        other => {
            let name = section.trim_matches(['[', ']']);
            report.error(
                key,
                format!("`{name}` is a list of tables, not {}", article(&other)),
                format!("write the header with two brackets: {section}"),
            );
            // Read on as if the second bracket were there: the rest of it may be wrong as well.
            return match other {
                DeValue::Table(keys) => vec![element(section, at, keys, report)],
                _ => Vec::new(),
            };
        }
    };
    let elements = list.into_iter().filter_map(|value| {
        let at = value.span();
        let keys = as_table(section, at.clone(), value, report)?;
        Some(element(section, at, keys, report))
    });
    elements.collect()
}

/// Reports at `key` if the value is no table.
fn as_table<'i>(
    section: &'static str,
    key: Range<usize>,
    value: Spanned<DeValue<'i>>,
    report: &mut Report<'_>,
) -> Option<DeTable<'i>> {
    match value.into_inner() {
        DeValue::Table(keys) => Some(keys),
        other => {
            let name = section.trim_matches(['[', ']']);
            let message = format!("`{name}` is a table, not {}", article(&other));
            report.error(key, message, format!("write its header as {section}"));
            None
        }
    }
}

fn element<T: Default + DeserializeOwned>(
    section: &'static str,
    at: Range<usize>,
    mut table: DeTable<'_>,
    report: &mut Report<'_>,
) -> Element<T> {
    unsupported::check(section, &table, report);
    let mut unknown = Vec::new();
    let written = table.keys().map(|key| (key.get_ref().to_string(), key.span())).collect();
    loop {
        let copy = Spanned::new(at.clone(), DeValue::Table(table.clone()));
        let error = match T::deserialize(copy.into_deserializer()) {
            Ok(keys) => return Element { section, at, keys, written, unknown },
            Err(error) => error,
        };
        let place = error.span().unwrap_or_else(|| at.clone());
        let culprit = culprit(&table, &place);
        let (message, hint) = explain(culprit.as_deref().unwrap_or_default(), section, &error);
        report.error(place.clone(), message, hint);
        let struck = culprit.and_then(|key| table.remove_entry(key.as_str()));
        if let Some((key, _)) = struck {
            // An error at the key itself, not in its value: the section has no such key.
            if key.span() == place {
                unknown.push(key.into_inner().into_owned());
            }
        } else {
            return Element { section, at, keys: T::default(), written, unknown };
        }
    }
}

/// The key of the table at which, or in whose value, an error stands.
fn culprit(table: &DeTable<'_>, place: &Range<usize>) -> Option<String> {
    let within = |span: Range<usize>| span.start <= place.start && place.end <= span.end;
    table
        .iter()
        .find(|(key, value)| within(key.span()) || within(value.span()))
        .map(|(key, _)| key.get_ref().to_string())
}

/// Puts the words of a deserializer into ours: message and hint.
fn explain(key: &str, section: &str, error: &Error) -> (String, String) {
    let message = error.message();
    if let Some((unknown, known)) = unknown_name(message, "unknown field") {
        let place = if unknown == key { section.to_owned() } else { format!("`{key}`") };
        let hint = did_you_mean(unknown, &known, "keys there");
        return (format!("unknown key `{unknown}` in {place}"), hint);
    }
    if let Some((unknown, known)) = unknown_name(message, "unknown variant") {
        let hint = did_you_mean(unknown, &known, "values").replace('`', "\"");
        return (format!("`{key}` cannot be \"{unknown}\""), hint);
    }
    if message == "wanted string or table" {
        return (format!("`{key}` expects a string"), "write it in double quotes".to_owned());
    }
    match wrong_type(message) {
        Some((expected, found)) => {
            (format!("`{key}` expects {expected}, found {found}"), remedy(&expected, &found))
        }
        None => (format!("`{key}`: {message}"), String::new()),
    }
}

/// "unknown field `x`, expected one of `a`, `b`" -> x and [a, b].
fn unknown_name<'m>(message: &'m str, what: &str) -> Option<(&'m str, Vec<&'m str>)> {
    let rest = message.strip_prefix(what)?.strip_prefix(" `")?;
    let (unknown, expected) = rest.split_once("`, expected ")?;
    Some((unknown, expected.split('`').skip(1).step_by(2).collect()))
}

/// "invalid type: integer `5`, expected a sequence" -> "a list" and "integer 5".
fn wrong_type(message: &str) -> Option<(String, String)> {
    let rest = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix))?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    let expected = match expected {
        "i64" => "a whole number",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        text if text.starts_with("struct ") => "a table",
        text => text,
    };
    let found = match found {
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        text if text.starts_with("string ") => format!("the {text}"),
        text => text.replace('`', "").trim_end_matches(" as i128").to_owned(),
    };
    Some((expected.to_owned(), found))
}

fn remedy(expected: &str, found: &str) -> String {
    let text = found.strip_prefix("the string ");
    match (expected, text) {
        ("a whole number" | "true or false", Some(text)) if is_bare(text) => {
            "write it without quotes".to_owned()
        }
        ("a string", None) if !found.starts_with("a ") => "write it in double quotes".to_owned(),
        (_, Some(text)) if expected.starts_with("a list") => {
            format!("put it in brackets: [{text}]")
        }
        _ => format!("write {expected}"),
    }
}

/// Whether a quoted text is a number or truth value that has quotes by mistake.
fn is_bare(quoted: &str) -> bool {
    let text = quoted.trim_matches('"');
    text.parse::<i64>().is_ok() || text.parse::<bool>().is_ok()
}

fn article(value: &DeValue<'_>) -> String {
    let name = value.type_str();
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {name}")
}

/// The one mistake of syntax after which the rest of the text can still be understood.
const DUPLICATE: &str = "duplicate key";

const SECTIONS: &[&str] = &[
    "version",
    "appliance",
    "control",
    "interface",
    "route",
    "pool",
    "rule",
    "service",
    "timeouts",
    "tcp",
    "limits",
];
