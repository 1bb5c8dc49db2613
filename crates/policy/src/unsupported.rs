//! What the language has and this version does not do yet.
//!
//! One table. To enable a feature, build it and remove its line; nothing else knows of it. It looks
//! at the text before anything else does, so that a key is never silently ignored.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::Value::{Any, Text};
use crate::report::Report;

/// One line of the table: `key` of `section`, having a certain value, cannot be done.
struct Feature {
    section: &'static str,
    /// A dot leads into an inline table.
    key: &'static str,
    value: Value,
    hint: &'static str,
}

/// Which values of a key are meant.
enum Value {
    Any,
    Text(&'static str),
}

/// Reports every value of one table that this version cannot do.
pub(crate) fn check(section: &str, table: &DeTable<'_>, report: &mut Report<'_>) {
    for feature in FEATURES.iter().filter(|feature| feature.section == section) {
        let Some(value) = find(table, feature.key) else { continue };
        for (at, written) in feature.value.found_in(value) {
            let key = feature.key;
            let what =
                if written.is_empty() { format!("`{key}`") } else { format!("{key} = {written}") };
            report.error(at, format!("{what} is not supported by this version yet"), feature.hint);
        }
    }
}

impl Value {
    /// Where the value is one of those meant, and how it is written (empty: any value is meant).
    fn found_in(&self, value: &Spanned<DeValue<'_>>) -> Vec<(Range<usize>, String)> {
        let at = value.span();
        match (self, value.get_ref()) {
            (Self::Any, _) => vec![(at, String::new())],
            (Self::Text(text), DeValue::String(found)) if found == text => {
                vec![(at, format!("\"{found}\""))]
            }
            _ => Vec::new(),
        }
    }
}

fn find<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
    match key.split_once('.') {
        Some((outer, inner)) => find(table.get(outer)?.get_ref().as_table()?, inner),
        None => table.get(key),
    }
}

const fn refused(
    section: &'static str,
    key: &'static str,
    value: Value,
    hint: &'static str,
) -> Feature {
    Feature { section, key, value, hint }
}

const INTERFACE: &str = "[[interface]]";
const RULE: &str = "[[rule]]";

const KINDS: &str = "the kinds of this version are \"source-nat\", \"static\", \"port-forward\", \"deliver\", \"bypass\" and \"drop\"";

#[rustfmt::skip] // one line a feature
const FEATURES: &[Feature] = &[
    refused(INTERFACE, "vrf", Any, "remove it: all interfaces share one routing table"),
    refused(RULE, "kind", Text("load-balance"), KINDS),
    refused(RULE, "kind", Text("nat64"), KINDS),
    refused(RULE, "kind", Text("siit"), KINDS),
    refused(RULE, "kind", Text("nptv6"), KINDS),
];
