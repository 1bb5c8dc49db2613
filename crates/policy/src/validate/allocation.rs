//! How a pool gives out its ports: `allocation`, `hold_down`, `overflow_ports`, `limits`.

use std::ops::RangeInclusive;

use toml::Spanned;

use super::values;
use crate::keys::{MAX_RATE, MAX_REST, MAX_SESSIONS};
use crate::model::{self, AllocationKind, Element};
use crate::pool::{Allocation, Deterministic, HoldDown, PoolLimits, PortBlocks};
use crate::report::Report;

pub(super) fn allocation(element: &Element<model::Pool>, report: &mut Report<'_>) -> Allocation {
    let Some(keys) = &element.keys.allocation else { return Allocation::Random };
    let kind = keys.kind.as_ref().map(Spanned::get_ref);
    let mut number = |key, value: &Option<Spanned<i64>>, range, default| {
        let value = value.as_ref();
        value.and_then(|value| values::integer(key, value, range, report)).unwrap_or(default)
    };
    match kind {
        None | Some(AllocationKind::Random) => Allocation::Random,
        Some(AllocationKind::Preserve) => Allocation::Preserve,
        Some(AllocationKind::PortBlock) => Allocation::PortBlock(PortBlocks {
            size: number("size", &keys.size, 1..=65_535, 512) as u16,
            max_blocks: number("max_blocks", &keys.max_blocks, 1..=65_535, 4) as u16,
            quarantine: number("quarantine", &keys.quarantine, 0..=MAX_REST, 120),
        }),
        Some(AllocationKind::Deterministic) => {
            let ports_per_host =
                number("ports_per_host", &keys.ports_per_host, 1..=65_535, 1) as u16;
            let source = keys.source.as_ref().and_then(|source| values::prefix(source, report));
            match source {
                Some(source) => Allocation::Deterministic(Deterministic { source, ports_per_host }),
                None => Allocation::Random,
            }
        }
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

pub(super) fn limits(keys: Option<&model::PoolLimits>, report: &mut Report<'_>) -> PoolLimits {
    let Some(keys) = keys else { return PoolLimits::default() };
    let mut number = |key, value: &Option<Spanned<i64>>, most| {
        value.as_ref().and_then(|value| values::integer(key, value, 1..=most, report))
    };
    PoolLimits {
        sessions: number("sessions", &keys.sessions, MAX_SESSIONS),
        mappings: number("mappings", &keys.mappings, MAX_SESSIONS),
        half_open: number("half_open", &keys.half_open, MAX_SESSIONS),
        session_rate: number("session_rate", &keys.session_rate, MAX_RATE),
    }
}
