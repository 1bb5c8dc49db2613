//! What the language has and this version does not do yet.
//!
//! One table. To enable a feature, build it and remove its line; nothing else knows of it. It looks
//! at the text before anything else does, so that a key is never silently ignored.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::report::Report;

/// One line of the table: `key` of `section`, having a certain value, cannot be done.
struct Feature {
    section: &'static str,
    /// A dot leads into an inline table.
    key: &'static str,
    value: Value,
    effect: Effect,
    hint: &'static str,
}

/// Which values of a key are meant.
enum Value {
    Any,
    Text(&'static str),
    Prefix(&'static str),
    True,
    /// Any number but this.
    NumberNot(&'static str),
    /// A list of addresses: those of IPv6.
    Ipv6Element,
}

enum Effect {
    /// The configuration would do something else than it says: refused.
    Refused,
    /// It does what it says, but for this key: a warning.
    Ignored,
}

/// Reports every value of one table that this version cannot do.
pub(crate) fn check(section: &str, table: &DeTable<'_>, report: &mut Report<'_>) {
    for feature in FEATURES.iter().filter(|feature| feature.section == section) {
        let Some(value) = find(table, feature.key) else { continue };
        for (at, written) in feature.value.found_in(value) {
            let key = feature.key;
            let what =
                if written.is_empty() { format!("`{key}`") } else { format!("{key} = {written}") };
            match feature.effect {
                Effect::Refused => report.error(
                    at,
                    format!("{what} is not supported by this version yet"),
                    feature.hint,
                ),
                Effect::Ignored => report.warning(
                    at,
                    format!("{what} has no effect in this version yet"),
                    feature.hint,
                ),
            }
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
            (Self::Prefix(prefix), DeValue::String(found)) if found.starts_with(prefix) => {
                vec![(at, format!("\"{found}\""))]
            }
            (Self::True, DeValue::Boolean(true)) => vec![(at, "true".to_owned())],
            (Self::NumberNot(number), DeValue::Integer(found)) if found.as_str() != *number => {
                vec![(at, found.as_str().to_owned())]
            }
            (Self::Ipv6Element, DeValue::Array(list)) => list
                .iter()
                .filter_map(|element| Some((element.span(), element.get_ref().as_str()?)))
                .filter(|(_, text)| text.contains(':'))
                .map(|(at, text)| (at, format!("\"{text}\"")))
                .collect(),
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
    Feature { section, key, value, effect: Effect::Refused, hint }
}

const fn ignored(
    section: &'static str,
    key: &'static str,
    value: Value,
    hint: &'static str,
) -> Feature {
    Feature { section, key, value, effect: Effect::Ignored, hint }
}

const KINDS: &str = "the kinds of this version are \"source-nat\", \"bypass\" and \"drop\"";
const BACKENDS: &str = "use backend = \"af_packet\"";

const FEATURES: &[Feature] = &[
    ignored("[appliance]", "workers", Value::NumberNot("1"), "one worker runs"),
    ignored(
        "[appliance]",
        "metrics",
        Value::Any,
        "nothing listens there; `mooring show` has the figures",
    ),
    ignored(
        "[appliance]",
        "health",
        Value::Any,
        "nothing listens there; `mooring show` has the state",
    ),
    refused("[control]", "source", Value::Text("kubernetes"), "use source = \"file\""),
    refused(
        "[[interface]]",
        "device",
        Value::Prefix("network:"),
        "name the device as `ip link` shows it",
    ),
    refused("[[interface]]", "backend", Value::Text("tap"), BACKENDS),
    refused("[[interface]]", "backend", Value::Text("af_xdp"), BACKENDS),
    refused(
        "[[interface]]",
        "addresses",
        Value::Text("kernel"),
        "list the addresses: addresses = [\"192.0.2.1/24\"]",
    ),
    refused(
        "[[interface]]",
        "vrf",
        Value::Any,
        "remove it: all interfaces share one routing table",
    ),
    refused(
        "[[interface]]",
        "gateway_addresses",
        Value::Any,
        "remove it: inside hosts use one of `addresses`",
    ),
    refused(
        "[[route]]",
        "via",
        Value::Text("kernel"),
        "write the router's address: via = \"192.0.2.2\"",
    ),
    refused("[[pool]]", "addresses", Value::Ipv6Element, "pools hold IPv4 addresses only"),
    refused(
        "[[pool]]",
        "mapping",
        Value::Text("endpoint-dependent"),
        "remove it: \"endpoint-independent\" is the default",
    ),
    refused(
        "[[pool]]",
        "filtering",
        Value::Text("address-dependent"),
        "remove it: \"address-and-port-dependent\" is the default",
    ),
    refused(
        "[[pool]]",
        "filtering",
        Value::Text("endpoint-independent"),
        "remove it: \"address-and-port-dependent\" is the default",
    ),
    ignored(
        "[[pool]]",
        "hairpin",
        Value::True,
        "inside hosts do not reach each other by pool addresses",
    ),
    refused(
        "[[pool]]",
        "allocation.kind",
        Value::Text("port-block"),
        "remove `allocation`: \"random\" is the default",
    ),
    refused(
        "[[pool]]",
        "allocation.kind",
        Value::Text("deterministic"),
        "remove `allocation`: \"random\" is the default",
    ),
    refused("[[rule]]", "kind", Value::Text("static"), KINDS),
    refused("[[rule]]", "kind", Value::Text("port-forward"), KINDS),
    refused("[[rule]]", "kind", Value::Text("load-balance"), KINDS),
    refused("[[rule]]", "kind", Value::Text("nat64"), KINDS),
    refused("[[rule]]", "kind", Value::Text("siit"), KINDS),
    refused("[[rule]]", "kind", Value::Text("nptv6"), KINDS),
    refused("[[rule]]", "kind", Value::Text("deliver"), KINDS),
    ignored("[[rule]]", "drain", Value::True, "a session ends with its rule"),
];
