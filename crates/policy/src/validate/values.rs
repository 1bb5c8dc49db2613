//! Single values: text to addresses, prefixes, ports and numbers. `None` means reported.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use mooring_wire::Protocol;
use toml::Spanned;

use crate::model::Word;
use crate::report::Report;

pub(super) fn integer(
    key: &str,
    value: &Spanned<i64>,
    range: RangeInclusive<u32>,
    report: &mut Report<'_>,
) -> Option<u32> {
    let number = *value.get_ref();
    let fits = u32::try_from(number).ok().filter(|number| range.contains(number));
    if fits.is_none() {
        let hint = format!("it may be {} to {}", range.start(), range.end());
        report.error(value.span(), format!("`{key}` cannot be {number}"), hint);
    }
    fits
}

pub(super) fn address(value: &Spanned<String>, report: &mut Report<'_>) -> Option<IpAddr> {
    let text = value.get_ref();
    let address = text.parse().ok();
    if address.is_none() {
        let hint = match text.parse::<IpNet>() {
            Ok(prefix) => format!("an address has no prefix length: \"{}\"", prefix.addr()),
            Err(_) => "write it as \"192.0.2.1\" or \"2001:db8::1\"".to_owned(),
        };
        report.error(value.span(), format!("\"{text}\" is not an address"), hint);
    }
    address
}

/// An address that a host can have.
pub(super) fn host_address(value: &Spanned<String>, report: &mut Report<'_>) -> Option<IpAddr> {
    let address = address(value, report)?;
    let fits = usable(IpNet::from(address), value, report);
    fits.then_some(address)
}

/// A set of addresses: no host bits; without a length one address.
pub(super) fn prefix(value: &Spanned<String>, report: &mut Report<'_>) -> Option<IpNet> {
    let text = value.get_ref();
    let parsed = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let Some(prefix) = parsed else {
        let hint = "write it as \"10.0.0.0/8\", \"203.0.113.10/32\" or \"2001:db8::/32\"";
        report.error(value.span(), format!("\"{text}\" is not an address prefix"), hint);
        return None;
    };
    if prefix.addr() != prefix.network() {
        let (all, one) = (prefix.trunc(), IpNet::from(prefix.addr()));
        let hint = format!("the whole prefix is \"{all}\", the one address \"{one}\"");
        report.error(value.span(), format!("\"{text}\" has host bits set"), hint);
        return None;
    }
    Some(prefix)
}

/// An interface's address with the length of its connected prefix.
pub(super) fn interface_address(value: &Spanned<String>, report: &mut Report<'_>) -> Option<IpNet> {
    let text = value.get_ref();
    let Ok(net) = text.parse::<IpNet>() else {
        let hint = match text.parse::<IpAddr>() {
            Ok(address) => {
                let length = if address.is_ipv4() { 24 } else { 64 };
                format!("add the length of the link's prefix: \"{text}/{length}\"")
            }
            Err(_) => "write it as \"192.0.2.1/24\" or \"2001:db8::1/64\"".to_owned(),
        };
        let message = format!("\"{text}\" is not an address with a prefix length");
        report.error(value.span(), message, hint);
        return None;
    };
    if !usable(IpNet::from(net.addr()), value, report) {
        return None;
    }
    let has_reserved = matches!(net, IpNet::V4(net) if net.prefix_len() < 31);
    let role = match net.addr() {
        address if address == net.network() => "network",
        address if address == net.broadcast() => "broadcast",
        _ => return Some(net),
    };
    if !has_reserved {
        return Some(net);
    }
    report.error(
        value.span(),
        format!("\"{text}\" is the {role} address of its prefix"),
        "give the interface a host's address in it",
    );
    None
}

/// Whether hosts can have these addresses.
pub(super) fn usable(prefix: IpNet, value: &Spanned<String>, report: &mut Report<'_>) -> bool {
    let overlaps = |special: &IpNet| special.contains(&prefix) || prefix.contains(special);
    let Some((special, what)) = SPECIAL.iter().find(|(special, _)| overlaps(special)) else {
        return true;
    };
    let message = match prefix.addr() {
        address if special.contains(&prefix) => format!("{address} is {what}"),
        _ => format!("\"{}\" contains {special}: {what}", value.get_ref()),
    };
    report.error(value.span(), message, "use addresses that hosts can have");
    false
}

/// Whether an address or destination of the kernel's has a meaning beyond one link or host.
pub(super) fn is_routed(net: &IpNet) -> bool {
    let prefix = net.trunc();
    LINK_LOCAL.iter().all(|special| !special.contains(&prefix))
        && SPECIAL.iter().all(|(special, _)| !special.contains(&prefix))
}

pub(super) fn ports(value: &Spanned<Word>, report: &mut Report<'_>) -> Option<RangeInclusive<u16>> {
    let text = value.get_ref().0.as_str();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (Ok(first), Ok(last)) = (first.trim().parse::<u16>(), last.trim().parse::<u16>()) else {
        let hint = "write a port as \"8080\", a range as \"8000-8099\"; the last port is 65535";
        report.error(value.span(), format!("\"{text}\" is not a port or a range of ports"), hint);
        return None;
    };
    if first == 0 || last == 0 {
        report.error(value.span(), "port 0 cannot be used", "the first port is 1");
        return None;
    }
    if last < first {
        let hint = format!("write \"{last}-{first}\"");
        report.error(value.span(), format!("\"{text}\" runs backwards"), hint);
        return None;
    }
    Some(first..=last)
}

pub(super) fn protocol(value: &Spanned<Word>, report: &mut Report<'_>) -> Option<Protocol> {
    let text = value.get_ref().0.as_str();
    let named = PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, protocol)| *protocol);
    let protocol = named.or_else(|| text.parse().ok().map(Protocol));
    if protocol.is_none() {
        let hint = "\"tcp\", \"udp\", \"icmp\", \"icmpv6\", \"sctp\" or a number up to 255";
        report.error(value.span(), format!("\"{text}\" is not a protocol"), hint);
    }
    protocol
}

/// An address with a port; `example` shows how it is written.
pub(super) fn socket(
    value: &Spanned<String>,
    example: &str,
    report: &mut Report<'_>,
) -> Option<SocketAddr> {
    let text = value.get_ref();
    let socket = text.parse().ok();
    if socket.is_none() {
        let message = format!("\"{text}\" is not an address with a port");
        report.error(value.span(), message, format!("write it as {example}"));
    }
    socket
}

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("tcp", Protocol::TCP),
    ("udp", Protocol::UDP),
    ("icmp", Protocol::ICMP),
    ("icmpv6", Protocol::ICMPV6),
    ("sctp", Protocol::SCTP),
];

/// What no host can have (RFC 6890).
const SPECIAL: &[(IpNet, &str)] = &[
    (v4([0, 0, 0, 0], 8), "\"this network\""),
    (v4([127, 0, 0, 0], 8), "the loopback network"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([255, 255, 255, 255], 32), "the broadcast address"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "the unspecified address"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "the loopback address"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

/// Addresses that are the same on every link (RFC 4291 §2.5.6).
const LINK_LOCAL: &[IpNet] = &[v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10)];

const fn v4(bytes: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_octets(bytes), length))
}

const fn v6(groups: [u16; 8], length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_segments(groups), length))
}
