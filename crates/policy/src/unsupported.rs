//! What the language has and this version does not do yet.
//!
//! One table. To enable a feature, build it and remove its line; nothing else knows of it. It looks
//! at the text before anything else does, so that a key is never silently ignored.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::Value::{Any, Ipv6Element, NumberNot, Prefix, Text, True};
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

const APPLIANCE: &str = "[appliance]";
const INTERFACE: &str = "[[interface]]";
const POOL: &str = "[[pool]]";
const RULE: &str = "[[rule]]";

const BACKENDS: &str = "use backend = \"af_packet\"";
const FILTERING: &str = "remove it: \"address-and-port-dependent\" is the default";
const ALLOCATION: &str = "remove `allocation`: \"random\" is the default";
const KINDS: &str = "the kinds of this version are \"source-nat\", \"bypass\" and \"drop\"";

#[rustfmt::skip] // one line a feature
const FEATURES: &[Feature] = &[
    ignored(APPLIANCE, "workers", NumberNot("1"), "one worker runs"),
    ignored(APPLIANCE, "metrics", Any, "nothing listens there; `mooring show` has the figures"),
    ignored(APPLIANCE, "health", Any, "nothing listens there; `mooring show` has the state"),
    refused("[control]", "source", Text("kubernetes"), "use source = \"file\""),
    refused(INTERFACE, "device", Prefix("network:"), "name the device as `ip link` shows it"),
    refused(INTERFACE, "backend", Text("tap"), BACKENDS),
    refused(INTERFACE, "backend", Text("af_xdp"), BACKENDS),
    refused(INTERFACE, "addresses", Text("kernel"), "list them: addresses = [\"192.0.2.1/24\"]"),
    refused(INTERFACE, "vrf", Any, "remove it: all interfaces share one routing table"),
    refused(INTERFACE, "gateway_addresses", Any, "remove it: inside hosts use one of `addresses`"),
    refused("[[route]]", "via", Text("kernel"), "write the router's address: via = \"192.0.2.2\""),
    refused(POOL, "addresses", Ipv6Element, "pools hold IPv4 addresses only"),
    refused(POOL, "mapping", Text("endpoint-dependent"), "remove it: \"endpoint-independent\" is the default"),
    refused(POOL, "filtering", Text("address-dependent"), FILTERING),
    refused(POOL, "filtering", Text("endpoint-independent"), FILTERING),
    ignored(POOL, "hairpin", True, "inside hosts do not reach each other by pool addresses"),
    refused(POOL, "allocation.kind", Text("port-block"), ALLOCATION),
    refused(POOL, "allocation.kind", Text("deterministic"), ALLOCATION),
    refused(RULE, "kind", Text("static"), KINDS),
    refused(RULE, "kind", Text("port-forward"), KINDS),
    refused(RULE, "kind", Text("load-balance"), KINDS),
    refused(RULE, "kind", Text("nat64"), KINDS),
    refused(RULE, "kind", Text("siit"), KINDS),
    refused(RULE, "kind", Text("nptv6"), KINDS),
    refused(RULE, "kind", Text("deliver"), KINDS),
    ignored(RULE, "drain", True, "a session ends with its rule"),
];
