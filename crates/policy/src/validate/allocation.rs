//! How a pool gives out its ports: `allocation`, `hold_down`, `overflow_ports`, `limits`.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;

use super::values;
use crate::keys::{MAX_RATE, MAX_REST, MAX_SESSIONS};
use crate::model::{self, AllocationKind, Element};
use crate::pool::{Allocation, Deterministic, HoldDown, PoolLimits, PortBlocks};
use crate::report::Report;

pub(super) fn allocation(element: &Element<model::Pool>, report: &mut Report<'_>) -> Allocation {
    let Some(keys) = &element.keys.allocation else { return Allocation::Random };
    let Some(kind) = &keys.kind else {
        if let Some((key, at)) = written(keys).next() {
            let kind = taker(key).text();
            let message = format!("`allocation` has `{key}` but no `kind`");
            report.error(at, message, format!("add kind = \"{kind}\""));
        }
        return Allocation::Random;
    };
    check_keys(keys, *kind.get_ref(), report);
    let most = PortBlocks::MAX_BLOCKS.into();
    let mut number = |key, value: &Option<Spanned<i64>>, range, default| {
        let value = value.as_ref();
        value.and_then(|value| values::integer(key, value, range, report)).unwrap_or(default)
    };
    match kind.get_ref() {
        AllocationKind::Random => Allocation::Random,
        AllocationKind::Preserve => Allocation::Preserve,
        AllocationKind::PortBlock => Allocation::PortBlock(PortBlocks {
            size: number("size", &keys.size, 1..=65_535, 512) as u16,
            max_blocks: number("max_blocks", &keys.max_blocks, 1..=most, 4) as u16,
            quarantine: number("quarantine", &keys.quarantine, 0..=MAX_REST, 120),
        }),
        AllocationKind::Deterministic => deterministic(keys, kind.span(), report)
            .map_or(Allocation::Random, Allocation::Deterministic),
    }
}

/// Keys that belong to another kind are a mistake, whatever they say.
fn check_keys(keys: &model::Allocation, kind: AllocationKind, report: &mut Report<'_>) {
    for (key, at) in written(keys).filter(|(key, _)| taker(key) != kind) {
        let message = format!("`{key}` does not apply to kind = \"{}\"", kind.text());
        let hint = format!("remove it: it belongs to kind = \"{}\"", taker(key).text());
        report.error(at, message, hint);
    }
}

fn deterministic(
    keys: &model::Allocation,
    kind: Range<usize>,
    report: &mut Report<'_>,
) -> Option<Deterministic> {
    let mut missing = |key: &str, example: &str| {
        let message = format!("a deterministic allocation needs `{key}`");
        report.error(kind.clone(), message, format!("add {key} = {example}"));
    };
    if keys.source.is_none() {
        missing("source", "\"10.0.0.0/24\", the prefix of the hosts");
    }
    if keys.ports_per_host.is_none() {
        missing("ports_per_host", "252, the ports of each of them");
    }
    let (source, ports) = (keys.source.as_ref(), keys.ports_per_host.as_ref());
    let source = source.and_then(|text| {
        values::prefix(text, report).filter(|prefix| values::usable(*prefix, text, report))
    });
    let range = 1..=65_535;
    let ports = ports.and_then(|n| values::integer("ports_per_host", n, range, report));
    Some(Deterministic { source: source?, ports_per_host: ports? as u16 })
}

/// The keys beside `kind` that are written, and where, in the order of the reference.
fn written(keys: &model::Allocation) -> impl Iterator<Item = (&'static str, Range<usize>)> {
    let number = |value: &Option<Spanned<i64>>| value.as_ref().map(Spanned::span);
    let places = [
        ("size", number(&keys.size)),
        ("max_blocks", number(&keys.max_blocks)),
        ("quarantine", number(&keys.quarantine)),
        ("source", keys.source.as_ref().map(Spanned::span)),
        ("ports_per_host", number(&keys.ports_per_host)),
    ];
    places.into_iter().filter_map(|(key, at)| Some((key, at?)))
}

/// The kind of allocation that a key belongs to.
fn taker(key: &str) -> AllocationKind {
    match key {
        "source" | "ports_per_host" => AllocationKind::Deterministic,
        _ => AllocationKind::PortBlock,
    }
}

pub(super) fn hold_down(keys: Option<&model::HoldDown>, report: &mut Report<'_>) -> HoldDown {
    let default = HoldDown::default();
    let Some(keys) = keys else { return default };
    let mut number = |key, value: &Option<Spanned<i64>>, most, default| {
        let value = value.as_ref();
        value.and_then(|value| values::integer(key, value, 0..=most, report)).unwrap_or(default)
    };
    HoldDown {
        seconds: number("seconds", &keys.seconds, MAX_REST, default.seconds),
        ports: number("ports", &keys.ports, 65_536, default.ports),
        strict: keys.strict.unwrap_or_default(),
    }
}

pub(super) fn overflow_ports(
    element: &Element<model::Pool>,
    report: &mut Report<'_>,
) -> Option<RangeInclusive<u16>> {
    element.keys.overflow_ports.as_ref().and_then(|ports| values::ports(ports, report))
}

/// Of a rule: it makes no mappings.
pub(super) fn rule_limits(keys: Option<&model::RuleLimits>, report: &mut Report<'_>) -> PoolLimits {
    let Some(keys) = keys else { return PoolLimits::default() };
    let mut number = |key, value: &Option<Spanned<i64>>, most| {
        value.as_ref().and_then(|value| values::integer(key, value, 1..=most, report))
    };
    PoolLimits {
        sessions: number("sessions", &keys.sessions, MAX_SESSIONS),
        mappings: None,
        half_open: number("half_open", &keys.half_open, MAX_SESSIONS),
        transitory: number("transitory", &keys.transitory, MAX_SESSIONS),
        session_rate: number("session_rate", &keys.session_rate, MAX_RATE),
    }
}

pub(super) fn limits(keys: Option<&model::PoolLimits>, report: &mut Report<'_>) -> PoolLimits {
    let Some(keys) = keys else { return PoolLimits::default() };
    let mut number = |key, value: &Option<Spanned<i64>>, most| {
        value.as_ref().and_then(|value| values::integer(key, value, 1..=most, report))
    };
    PoolLimits {
        sessions: number("sessions", &keys.sessions, MAX_SESSIONS),
        mappings: number("mappings", &keys.mappings, MAX_SESSIONS),
        half_open: number("half_open", &keys.half_open, MAX_SESSIONS),
        transitory: number("transitory", &keys.transitory, MAX_SESSIONS),
        session_rate: number("session_rate", &keys.session_rate, MAX_RATE),
    }
}
