//! What of a pool fits together: its ports with what is asked of them, its options with each other.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;

use super::settings::Crew;
use super::words::{are, counted};
use crate::model::{self, Element};
use crate::pool::{
    AddressChoice, Allocation, Deterministic, Filtering, HoldDown, Mapping, Pool, Pooling,
    PortBlocks, address_count,
};
use crate::report::Report;

/// Nothing is said of a pool that has no addresses and gets none: that was reported.
pub(super) fn check(
    element: &Element<model::Pool>,
    pool: &Pool,
    crew: Crew,
    report: &mut Report<'_>,
) {
    if pool.addresses.is_empty() && element.keys.addresses_from.is_none() {
        return;
    }
    match &pool.allocation {
        Allocation::Random | Allocation::Preserve => check_pairs(element, pool, crew, report),
        Allocation::PortBlock(blocks) => check_blocks(element, pool, blocks, crew, report),
        Allocation::Deterministic(plan) => check_slices(element, pool, plan, report),
    }
    check_choice(element, pool, report);
    check_neighbours(element, pool, report);
    check_overflow(element, pool, crew, report);
    check_hold_down(element, pool, report);
}

/// The ports of an address go to the workers two by two, an even one and the next: one without any
/// refuses all its hosts. What `overflow_ports` has is not there for mappings.
fn check_pairs(element: &Element<model::Pool>, pool: &Pool, crew: Crew, report: &mut Report<'_>) {
    let workers = usize::from(crew.workers);
    let overflow = pool.overflow_ports.as_ref();
    let (first, last) = (u32::from(*pool.ports.start()), u32::from(*pool.ports.end()));
    let pieces = overflow.map_or([first..last + 1, 0..0], |overflow| {
        let (from, to) = (u32::from(*overflow.start()), u32::from(*overflow.end()));
        [first..from.min(last + 1), first.max(to + 1)..last + 1]
    });
    let pairs = || {
        pieces
            .iter()
            .filter(|piece| !piece.is_empty())
            .flat_map(|piece| piece.start / 2..piece.end.div_ceil(2))
    };
    let mut served = BTreeSet::new();
    // As many workers as there are have each a pair soon: no pool is read to its end.
    let all = pairs().any(|pair| {
        served.insert(pair as usize % workers);
        served.len() == workers
    });
    // Without any pair the overflow ports are all: said of them.
    if all || served.is_empty() {
        return;
    }
    let (there, served) = (pairs().collect::<BTreeSet<_>>().len(), served.len());
    let ports = in_words(&pool.ports);
    let (but, place) = match overflow {
        None => (String::new(), &element.keys.ports),
        Some(overflow) => (
            format!(" without `overflow_ports` {}", in_words(overflow)),
            &element.keys.overflow_ports,
        ),
    };
    let are = are(there, "pair", "pairs");
    let message = match there < workers {
        true => format!("ports {ports}{but} {are}, {crew} need {workers}"),
        false => format!("ports {ports}{but} {are}, but of {served} of {crew} only"),
    };
    let hint = format!(
        "a worker leases an even port and the next one, and {} would have none: take {} ports or \
         more, in one piece, or fewer `workers`",
        workers - served,
        2 * workers,
    );
    report.error(at(element, place), message, hint);
}

/// A block is of one worker, and a host keeps to one address: it must have as many as it may get.
fn check_blocks(
    element: &Element<model::Pool>,
    pool: &Pool,
    blocks: &PortBlocks,
    crew: Crew,
    report: &mut Report<'_>,
) {
    let Some(keys) = &element.keys.allocation else { return };
    let (size, most) = (u32::from(blocks.size), u32::from(blocks.max_blocks));
    let ports = count(&pool.ports);
    let there = ports / size;
    let range = in_words(&pool.ports);
    if there == 0 {
        let message = format!(
            "a block has {}, an address of the pool only {ports}",
            counted(size, "port", "ports")
        );
        let hint = format!("`ports` is {range}: make the blocks smaller, or give it more ports");
        report.error(at(element, &keys.size), message, hint);
        return;
    }
    let arithmetic = format!(
        "{} in blocks of {size} make {} an address",
        counted(ports, "port", "ports"),
        counted(there, "block", "blocks"),
    );
    let each = there / u32::from(crew.workers);
    if each == 0 {
        let verb = if there == 1 { "does" } else { "do" };
        let blocks = counted(there, "block", "blocks");
        let message = format!("{blocks} an address {verb} not go round {crew}");
        let largest = ports / u32::from(crew.workers);
        let hint = match largest {
            0 => "use fewer `workers`, or give the pool more ports".to_owned(),
            _ => format!("{arithmetic}, and each is of one worker: `size` may be up to {largest}"),
        };
        report.error(at(element, &keys.size), message, hint);
    } else if most > each {
        let workers = if each == there { "" } else { ", which the workers share" };
        let default = if keys.max_blocks.is_some() { "" } else { " (the default)" };
        let blocks = counted(most, "block", "blocks");
        let message = format!("a host cannot have {blocks}{default}: {arithmetic}{workers}");
        let hint = format!("it keeps to one address: `max_blocks` may be up to {each}");
        report.error(at(element, &keys.max_blocks), message, hint);
    }
}

/// RFC 7422 §2.1: the sharing ratio follows from the ports of a host, it cannot be exceeded.
fn check_slices(
    element: &Element<model::Pool>,
    pool: &Pool,
    plan: &Deterministic,
    report: &mut Report<'_>,
) {
    let Some(keys) = &element.keys.allocation else { return };
    let Some(source) = keys.source.as_ref() else { return };
    if let Some(first) = pool.addresses.first()
        && first.addr().is_ipv4() != plan.source.addr().is_ipv4()
    {
        let family = |is_v4| if is_v4 { "IPv4" } else { "IPv6" };
        let (hosts, outside) = (plan.source.addr().is_ipv4(), first.addr().is_ipv4());
        let message = format!("the hosts are {}, the pool is {}", family(hosts), family(outside));
        let hint = "`source` is of the pool's family: make a pool for each";
        report.error(source.span(), message, hint);
        return;
    }
    let (ports, per_host) = (count(&pool.ports), u32::from(plan.ports_per_host));
    let addresses = pool.addresses.iter().map(address_count).fold(0, u128::saturating_add);
    let (hosts, each) = (plan.hosts(), u128::from(plan.slices_per_address(&pool.ports)));
    let room = addresses.saturating_mul(each);
    if hosts <= room {
        return;
    }
    let message = format!(
        "{} x {} = {} ports do not fit: {} of {} {} room for {}",
        counted(hosts, "host", "hosts"),
        counted(per_host, "port", "ports"),
        hosts.saturating_mul(per_host.into()),
        counted(addresses, "address", "addresses"),
        counted(ports, "port", "ports"),
        if addresses == 1 { "has" } else { "have" },
        counted(room, "host", "hosts"),
    );
    let largest = u128::from(ports) / hosts.div_ceil(addresses);
    let more = match each {
        0 => String::new(),
        _ => format!("the pool needs {}", counted(hosts.div_ceil(each), "address", "addresses")),
    };
    let fewer = match largest {
        0 => String::new(),
        _ => format!("`ports_per_host` may be up to {largest}"),
    };
    let hint = match (more.is_empty(), fewer.is_empty()) {
        (false, false) => format!("{fewer}, or {more}"),
        (true, true) => "make `source` a longer prefix, or give the pool more addresses".to_owned(),
        _ => fewer + &more,
    };
    report.error(source.span(), message, hint);
}

/// Which address a host gets is settled where its ports are.
fn check_choice(element: &Element<model::Pool>, pool: &Pool, report: &mut Report<'_>) {
    let keys = &element.keys;
    let (kind, why) = match &pool.allocation {
        Allocation::PortBlock(_) => {
            ("port-block", "the blocks of a host are of one address, which is what is recorded")
        }
        Allocation::Deterministic(_) => {
            ("deterministic", "a host's address follows from its own, it has no other")
        }
        Allocation::Random | Allocation::Preserve => return,
    };
    if let Some(pooling) = &keys.pooling
        && *pooling.get_ref() == Pooling::Arbitrary
    {
        let message = format!("pooling = \"arbitrary\" cannot be had with kind = \"{kind}\"");
        report.error(pooling.span(), message, format!("remove `pooling`: {why}"));
    }
    if let Some(choice) = &keys.address_choice
        && *choice.get_ref() == AddressChoice::LeastUsed
        && kind == "deterministic"
    {
        let message =
            format!("address_choice = \"least-used\" cannot be had with kind = \"{kind}\"");
        report.error(choice.span(), message, format!("remove `address_choice`: {why}"));
    }
}

/// `parity` needs ports of both kinds, `contiguity` mappings.
fn check_neighbours(element: &Element<model::Pool>, pool: &Pool, report: &mut Report<'_>) {
    let keys = &element.keys;
    if let Some(contiguity) = keys.contiguity.as_ref().filter(|flag| *flag.get_ref())
        && pool.mapping == Mapping::EndpointDependent
    {
        let message = "`contiguity` cannot be had with mapping = \"endpoint-dependent\"";
        let hint = "remove it: it is the port next to a mapping's, and there are no mappings";
        report.error(contiguity.span(), message, hint);
    }
    let (ports, what) = match &pool.allocation {
        Allocation::PortBlock(blocks) => (blocks.size.into(), "a block"),
        Allocation::Deterministic(plan) => (plan.ports_per_host.into(), "a host"),
        Allocation::Random | Allocation::Preserve => (count(&pool.ports), "an address of the pool"),
    };
    if let Some(parity) = keys.parity.as_ref().filter(|flag| *flag.get_ref())
        && ports < 2
    {
        let message = format!("`parity` cannot be kept: {what} has one port");
        report.error(parity.span(), message, "it needs an even and an odd one at least");
    }
}

/// Overflow is what endpoint-independent mappings have when the rest is used up, and they need a rest.
fn check_overflow(
    element: &Element<model::Pool>,
    pool: &Pool,
    crew: Crew,
    report: &mut Report<'_>,
) {
    let Some(overflow) = &pool.overflow_ports else { return };
    let place = at(element, &element.keys.overflow_ports);
    let refused = if pool.mapping == Mapping::EndpointDependent {
        Some(("mapping = \"endpoint-dependent\"", "all its ports are shared between remotes"))
    } else {
        match &pool.allocation {
            Allocation::PortBlock(_) => Some((
                "kind = \"port-block\"",
                "a host has the ports of its blocks and no others, which is what is recorded",
            )),
            Allocation::Deterministic(_) => Some((
                "kind = \"deterministic\"",
                "a host has the ports of its slice and no others, they name it",
            )),
            Allocation::Random | Allocation::Preserve => None,
        }
    };
    if let Some((what, why)) = refused {
        let message = format!("`overflow_ports` cannot be had with {what}");
        report.error(place, message, format!("remove `overflow_ports`: {why}"));
        return;
    }
    let (ours, theirs) = (in_words(&pool.ports), in_words(overflow));
    let (most, few) = (count(&pool.ports), count(overflow));
    if !pool.ports.contains(overflow.start()) || !pool.ports.contains(overflow.end()) {
        let message = format!("`overflow_ports` {theirs} are not among the pool's `ports` {ours}");
        let hint = format!(
            "the pool has {}: take some, at one end of them",
            counted(most, "port", "ports")
        );
        report.error(place, message, hint);
    } else if most == few {
        let message = format!("`overflow_ports` are all {most} ports of the pool");
        let hint =
            "no mapping would get a port: leave it some, or use mapping = \"endpoint-dependent\"";
        report.error(place, message, hint);
    } else if few < 2 * u32::from(crew.workers) && crew.workers > 1 {
        let message = format!("{few} `overflow_ports` do not go round {crew}");
        let hint = format!("the ports of an address go to the workers two by two: take {}", {
            2 * u32::from(crew.workers)
        });
        report.error(place, message, hint);
    }
}

/// RFC 6888 REQ-8 says what need not rest: then a `hold_down` that is written has no effect.
fn check_hold_down(element: &Element<model::Pool>, pool: &Pool, report: &mut Report<'_>) {
    let Some(keys) = &element.keys.hold_down else { return };
    let HoldDown { seconds, ports, strict } = pool.hold_down;
    let rests = seconds > 0 && ports > 0;
    let (with, hint) = match (&pool.allocation, pool.mapping) {
        (Allocation::PortBlock(_), _) => {
            ("with kind = \"port-block\"", "remove it: blocks rest instead, for `quarantine`")
        }
        (Allocation::Deterministic(_), _) => (
            "with kind = \"deterministic\"",
            "remove it: nobody else ever has the ports of a host (RFC 6888 REQ-8 b)",
        ),
        (_, Mapping::EndpointDependent) => (
            "with mapping = \"endpoint-dependent\"",
            "remove it: ports rest that a mapping had to itself, and there are no mappings",
        ),
        _ if seconds == 0 && (keys.ports.is_some() || strict) => {
            ("where ports rest 0 s", "remove what else it says, or give it `seconds`")
        }
        _ if seconds > 0 && ports == 0 => {
            ("where no port may rest", "write seconds = 0, or give it `ports`")
        }
        _ if rests && !strict && pool.filtering != Filtering::EndpointIndependent => (
            "with this `filtering`",
            "only who was sent to may send to a port, so none needs a rest (RFC 6888 REQ-8 c): \
             write strict = true to let them rest all the same, or remove it",
        ),
        _ => return,
    };
    let at = [&keys.seconds, &keys.ports].into_iter().flatten().map(Spanned::span).next();
    let at = at.or_else(|| element.place("hold_down")).unwrap_or_else(|| element.at.clone());
    report.warning(at, format!("`hold_down` has no effect {with}"), hint);
}

/// Where a value stands, or its pool if it is not written.
fn at<T>(element: &Element<model::Pool>, value: &Option<Spanned<T>>) -> Range<usize> {
    value.as_ref().map_or_else(|| element.at.clone(), Spanned::span)
}

/// How many ports these are.
fn count(ports: &RangeInclusive<u16>) -> u32 {
    u32::from(*ports.end()) - u32::from(*ports.start()) + 1
}

fn in_words(ports: &RangeInclusive<u16>) -> String {
    format!("{}-{}", ports.start(), ports.end())
}
