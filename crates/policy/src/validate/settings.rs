//! `version`, `[appliance]`, `[timeouts]` and `[limits]`.

use std::fmt;
use std::num::NonZeroU8;
use std::path::PathBuf;

use toml::Spanned;

use super::values;
use super::words::counted;
use crate::keys::{MAX_FRAGMENTS, MAX_RATE, MAX_REST, MAX_SESSIONS, MAX_TIMEOUT, MAX_WORKERS};
use crate::model::{self, Element};
use crate::policy::{Limits, Tcp, Timeouts};
use crate::report::Report;
use crate::settings::{Settings, Source};

pub(super) fn version(version: Option<&Spanned<i64>>, report: &mut Report<'_>) {
    if let Some(version) = version.filter(|version| *version.get_ref() != 1) {
        let message = format!("version {} of the language is not known", version.get_ref());
        report.error(version.span(), message, "this program reads version = 1");
    }
}

pub(super) fn appliance(element: &Element<model::Appliance>, report: &mut Report<'_>) -> Settings {
    let keys = &element.keys;
    let default = Settings::default();
    let workers = keys.workers.as_ref();
    let workers =
        workers.and_then(|value| values::integer("workers", value, 0..=MAX_WORKERS.into(), report));
    let mut socket = |value: &Option<Spanned<String>>| {
        values::socket(value.as_ref()?, "\"127.0.0.1:9464\" or \"[::1]:9464\"", report)
    };
    let (metrics, health) = (socket(&keys.metrics), socket(&keys.health));
    let path = keys.control_socket.as_ref();
    let control_socket = path.and_then(|path| control_socket(path, report));
    Settings {
        workers: workers.map_or(default.workers, |workers| workers as u16),
        control_socket: control_socket.unwrap_or(default.control_socket),
        metrics,
        health,
        allow_kernel_forwarding: keys.allow_kernel_forwarding.unwrap_or_default(),
        ..default
    }
}

/// `[control]`
pub(super) fn control(
    element: &Element<model::Control>,
    settings: &mut Settings,
    report: &mut Report<'_>,
) {
    settings.source = element.keys.source.unwrap_or_default();
    let Some(retention) = &element.keys.session_retention else { return };
    let seconds = values::integer("session_retention", retention, 0..=MAX_REST, report);
    settings.session_retention = seconds.unwrap_or(settings.session_retention);
    if settings.source == Source::File {
        let message = "`session_retention` changes nothing with the source `file`";
        report.warning(retention.span(), message, "an address is lost by a reload only");
    }
}

/// The packet threads that ports must go round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crew {
    /// How many; at least one.
    pub(super) workers: u16,
    /// The configuration leaves it to the machine.
    by_core: bool,
}

impl fmt::Display for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.by_core { " (`workers` = 0: one per usable core)" } else { "" };
        write!(f, "{}{why}", counted(self.workers, "worker", "workers"))
    }
}

/// How many workers there will be: `cores`, where the configuration leaves it to the machine.
pub(super) fn crew(
    element: &Element<model::Appliance>,
    workers: u16,
    cores: Option<NonZeroU8>,
    report: &mut Report<'_>,
) -> Crew {
    if workers == 0 && cores.is_none() {
        let at = element.keys.workers.as_ref().map_or_else(|| element.at.clone(), Spanned::span);
        let message = "`workers` = 0 is one per usable core, and their number is not known here";
        report.warning(at, message, "what their number decides was checked for one worker only");
    }
    let by_core = workers == 0;
    let workers = if by_core { cores.map_or(1, |cores| cores.get().into()) } else { workers };
    Crew { workers, by_core }
}

fn control_socket(path: &Spanned<String>, report: &mut Report<'_>) -> Option<PathBuf> {
    let text = path.get_ref();
    let bytes = text.len();
    if !text.starts_with('/') {
        let message = format!("`control_socket` cannot be \"{text}\"");
        report.error(path.span(), message, "write the whole path, from `/`");
    } else if bytes > MAX_SOCKET_PATH {
        let message = format!("`control_socket` is {bytes} bytes long");
        let hint = format!("the kernel takes paths of sockets up to {MAX_SOCKET_PATH} bytes");
        report.error(path.span(), message, hint);
    } else if text.contains('\0') {
        let message = "`control_socket` has a zero byte in it";
        report.error(path.span(), message, "a path ends at its first zero byte");
    } else {
        return Some(PathBuf::from(text));
    }
    None
}

pub(super) fn timeouts(element: &Element<model::Timeouts>, report: &mut Report<'_>) -> Timeouts {
    let keys = &element.keys;
    let default = Timeouts::default();
    let mut seconds = |key, value: &Option<Spanned<i64>>, default, floor, rule| {
        let Some(value) = value else { return default };
        let seconds = values::integer(key, value, 1..=MAX_TIMEOUT, report).unwrap_or(default);
        if seconds < floor {
            let message = format!("`{key}` is {seconds} s, {rule} asks for at least {floor} s");
            let hint = "sessions that are only quiet may be cut off";
            report.warning(value.span(), message, hint);
        }
        seconds
    };
    let tcp_transitory = seconds(
        "tcp_transitory",
        &keys.tcp_transitory,
        default.tcp_transitory,
        240,
        "RFC 5382 REQ-5",
    );
    // RFC 7857 §2.1: "a NAT MAY allow the configured timeout to be less than 4 minutes".
    let tcp_half_open = seconds("tcp_half_open", &keys.tcp_half_open, tcp_transitory, 0, "");
    Timeouts {
        // RFC 4787 REQ-5: "A NAT UDP mapping timer MUST NOT expire in less than two minutes".
        udp: seconds("udp", &keys.udp, default.udp, 120, "RFC 4787 REQ-5"),
        // RFC 5382 REQ-5: established "MUST NOT be less than 2 hours 4 minutes", transitory
        // "MUST NOT be less than 4 minutes".
        tcp_established: seconds(
            "tcp_established",
            &keys.tcp_established,
            default.tcp_established,
            7440,
            "RFC 5382 REQ-5",
        ),
        tcp_transitory,
        tcp_half_open,
        // RFC 5508 REQ-2: "An ICMP Query session timer MUST NOT expire in less than 60 seconds".
        icmp: seconds("icmp", &keys.icmp, default.icmp, 60, "RFC 5508 REQ-2"),
    }
}

pub(super) fn limits(element: &Element<model::Limits>, report: &mut Report<'_>) -> Limits {
    let keys = &element.keys;
    let default = Limits::default();
    let mut optional = |key, value: &Option<Spanned<i64>>, range| {
        value.as_ref().and_then(|value| values::integer(key, value, range, report))
    };
    let sessions =
        optional("sessions", &keys.sessions, 1..=MAX_SESSIONS).unwrap_or(default.sessions);
    let sources = (sessions / 2).max(SOURCES_FLOOR).min(sessions);
    let fragments =
        optional("fragments", &keys.fragments, 1..=MAX_FRAGMENTS).unwrap_or(default.fragments);
    let mut count = |key, value, most| optional(key, value, 1..=most);
    Limits {
        sessions,
        sources: count("sources", &keys.sources, MAX_SESSIONS).unwrap_or(sources),
        sessions_per_source: count("sessions_per_source", &keys.sessions_per_source, MAX_SESSIONS)
            .unwrap_or(default.sessions_per_source),
        mappings_per_source: count("mappings_per_source", &keys.mappings_per_source, MAX_SESSIONS),
        half_open_per_source: count(
            "half_open_per_source",
            &keys.half_open_per_source,
            MAX_SESSIONS,
        ),
        transitory_per_source: count(
            "transitory_per_source",
            &keys.transitory_per_source,
            MAX_SESSIONS,
        ),
        session_rate_per_source: count(
            "session_rate_per_source",
            &keys.session_rate_per_source,
            MAX_RATE,
        ),
        icmp_error_rate: count("icmp_error_rate", &keys.icmp_error_rate, MAX_RATE)
            .unwrap_or(default.icmp_error_rate),
        echo_reply_rate: count("echo_reply_rate", &keys.echo_reply_rate, MAX_RATE)
            .unwrap_or(default.echo_reply_rate),
        fragments,
        fragments_per_source: count(
            "fragments_per_source",
            &keys.fragments_per_source,
            MAX_FRAGMENTS,
        )
        .or(Some((fragments / 4).max(1))),
        source_prefix_v4: optional("source_prefix_v4", &keys.source_prefix_v4, 8..=32)
            .map_or(default.source_prefix_v4, |bits| bits as u8),
        source_prefix_v6: optional("source_prefix_v6", &keys.source_prefix_v6, 16..=128)
            .map_or(default.source_prefix_v6, |bits| bits as u8),
        on_full: keys.on_full.unwrap_or_default(),
    }
}

pub(super) fn tcp(element: &Element<model::Tcp>) -> Tcp {
    let keys = &element.keys;
    Tcp {
        window_tracking: keys.window_tracking.unwrap_or_default(),
        unsolicited_syn: keys.unsolicited_syn.unwrap_or_default(),
        probe: keys.probe.unwrap_or_default(),
        pick_up: keys.pick_up.unwrap_or_default(),
    }
}

/// Sources that there is room for even where sessions are few.
const SOURCES_FLOOR: u32 = 4_096;

/// `sun_path` of `struct sockaddr_un` holds 108 bytes, the last one zero.
const MAX_SOCKET_PATH: usize = 107;
