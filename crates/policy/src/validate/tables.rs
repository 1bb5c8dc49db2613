//! Limits against the tables that they are limits of: one that is larger is never met.

use toml::Spanned;

use crate::model::Model;
use crate::policy::{Limits, Timeouts};
use crate::pool::Pool;
use crate::report::Report;

type Number = Option<Spanned<i64>>;

/// Only for limits without errors: one that could not be read has its default.
pub(super) fn check(
    model: &Model,
    limits: &Limits,
    timeouts: &Timeouts,
    pools: &[Pool],
    report: &mut Report<'_>,
) {
    let keys = &model.limits.keys;
    let sessions = Table { what: "sessions", size: limits.sessions };
    let fragments = Table { what: "fragments", size: limits.fragments };
    for (key, value, table) in [
        ("sources", &keys.sources, &sessions),
        ("sessions_per_source", &keys.sessions_per_source, &sessions),
        ("mappings_per_source", &keys.mappings_per_source, &sessions),
        ("half_open_per_source", &keys.half_open_per_source, &sessions),
        ("transitory_per_source", &keys.transitory_per_source, &sessions),
        ("fragments_per_source", &keys.fragments_per_source, &fragments),
    ] {
        table.check(key, value, report);
    }
    for element in &model.pools {
        let Some(keys) = &element.keys.limits else { continue };
        for (key, value) in [
            ("sessions", &keys.sessions),
            ("mappings", &keys.mappings),
            ("half_open", &keys.half_open),
            ("transitory", &keys.transitory),
        ] {
            sessions.check(key, value, report);
        }
    }
    for element in &model.rules {
        let Some(keys) = &element.keys.limits else { continue };
        for (key, value) in [
            ("sessions", &keys.sessions),
            ("half_open", &keys.half_open),
            ("transitory", &keys.transitory),
        ] {
            sessions.check(key, value, report);
        }
    }
    if !report.has_errors() {
        warn_never_met(model, limits, timeouts, pools, report);
    }
}

/// A table that is allocated at start.
struct Table {
    /// The key of `[limits]` that sizes it.
    what: &'static str,
    size: u32,
}

impl Table {
    fn check(&self, key: &str, value: &Number, report: &mut Report<'_>) {
        let Some(value) = value else { return };
        let (number, Self { what, size }) = (*value.get_ref(), self);
        if number > i64::from(*size) {
            let message = format!("`{key}` is {number}, the table of {what} has {size}");
            let hint =
                format!("it would never be met: write {size} or less, or more {what} in [limits]");
            report.error(value.span(), message, hint);
        }
    }
}

/// Limits that another one keeps from being met.
fn warn_never_met(
    model: &Model,
    limits: &Limits,
    timeouts: &Timeouts,
    pools: &[Pool],
    report: &mut Report<'_>,
) {
    let keys = &model.limits.keys;
    let mut behind = |key: &str, value: &Number, other: &str, most: u32| {
        let Some(value) = value.as_ref().filter(|value| *value.get_ref() > i64::from(most)) else {
            return;
        };
        let message = format!("`{key}` is {}, `{other}` is {most}", value.get_ref());
        report.warning(value.span(), message, format!("it is never met: `{other}` comes first"));
    };
    let most = limits.sessions_per_source;
    behind("mappings_per_source", &keys.mappings_per_source, "sessions_per_source", most);
    behind("half_open_per_source", &keys.half_open_per_source, "sessions_per_source", most);
    behind("transitory_per_source", &keys.transitory_per_source, "sessions_per_source", most);
    for (element, pool) in model.pools.iter().zip(pools) {
        let (Some(keys), Some(most)) = (&element.keys.limits, pool.limits.sessions) else {
            continue;
        };
        behind("mappings", &keys.mappings, "sessions", most);
        behind("half_open", &keys.half_open, "sessions", most);
        behind("transitory", &keys.transitory, "sessions", most);
    }
    for keys in model.rules.iter().filter_map(|element| element.keys.limits.as_ref()) {
        let most = keys.sessions.as_ref().and_then(|most| u32::try_from(*most.get_ref()).ok());
        let Some(most) = most else { continue };
        behind("half_open", &keys.half_open, "sessions", most);
        behind("transitory", &keys.transitory, "sessions", most);
    }
    // RFC 7857 §2.1 lets it be shorter, because half-open sessions are what floods are made of.
    if let Some(value) = &model.timeouts.keys.tcp_half_open
        && timeouts.tcp_half_open > timeouts.tcp_transitory
    {
        let (own, other) = (timeouts.tcp_half_open, timeouts.tcp_transitory);
        let message = format!("`tcp_half_open` is {own} s, `tcp_transitory` {other} s");
        let hint = "connections that never opened would live longer than those that close";
        report.warning(value.span(), message, hint);
    }
}
