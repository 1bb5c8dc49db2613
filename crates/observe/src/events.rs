//! Events as `show events` prints them, and as the lines of the log of `run`.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use mooring_engine::Told;
use serde::Serialize;

use crate::date;

/// A row of `show events`. The names and the order of the fields are the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventRow {
    /// In UTC, to the millisecond: rows in order of their text are in order of time.
    at: String,
    kind: &'static str,
    pool: Option<String>,
    inside: Option<IpAddr>,
    outside: Option<IpAddr>,
    protocol: Option<String>,
    ports: Option<String>,
    suppressed: u32,
    worker: usize,
}

impl EventRow {
    /// The row of an event of `worker` that happened on this date.
    #[must_use]
    pub fn new(worker: usize, told: &Told, date: SystemTime) -> Self {
        let event = &told.event;
        Self {
            at: date::rfc3339_millis(date),
            kind: event.kind.name(),
            pool: told.pool.as_deref().map(str::to_owned),
            inside: event.inside,
            outside: event.outside,
            protocol: event.protocol.map(|protocol| protocol.to_string()),
            ports: event.ports.as_ref().map(|ports| format!("{}-{}", ports.start(), ports.end())),
            suppressed: event.suppressed,
            worker,
        }
    }
}

impl EventRow {
    /// When, as text that sorts by time.
    #[must_use]
    pub fn at(&self) -> &str {
        &self.at
    }
}

/// A line for a log that programs read: `key=value`, what does not apply left out (RFC 6888 REQ-12 b:
/// who had which ports, and when).
impl fmt::Display for EventRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kind={} at={}", self.kind, self.at)?;
        if let Some(pool) = &self.pool {
            // The name is the user's: quoted, so that it cannot look like another key.
            write!(f, " pool={pool:?}")?;
        }
        for (key, address) in [("inside", self.inside), ("outside", self.outside)] {
            if let Some(address) = address {
                write!(f, " {key}={address}")?;
            }
        }
        for (key, text) in [("protocol", &self.protocol), ("ports", &self.ports)] {
            if let Some(text) = text {
                write!(f, " {key}={text}")?;
            }
        }
        match self.suppressed {
            0 => Ok(()),
            others => write!(f, " suppressed={others}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use mooring_engine::{Event, EventKind, Told};
    use mooring_session::Tick;
    use mooring_wire::Protocol;

    use super::EventRow;

    fn row(event: Event, pool: Option<&str>) -> EventRow {
        let told = Told { number: 7, pool: pool.map(Into::into), event };
        EventRow::new(1, &told, UNIX_EPOCH + Duration::from_millis(1_798_761_599_042))
    }

    // RFC 6888 REQ-12 b: inside address, outside address, ports and time of a block, in one entry.
    #[test]
    fn a_block_is_one_line_that_says_who_had_which_ports() {
        let event = Event {
            inside: "100.64.0.7".parse().ok(),
            outside: "203.0.113.4".parse().ok(),
            ports: Some(1024..=1279),
            ..Event::new(EventKind::BlockAllocated, Tick::ZERO)
        };
        let row = row(event, Some("a \"b\" kind=x"));
        let expected = "kind=block_allocated at=2026-12-31T23:59:59.042Z \
                        pool=\"a \\\"b\\\" kind=x\" inside=100.64.0.7 outside=203.0.113.4 \
                        ports=1024-1279";
        assert_eq!(row.to_string(), expected);
    }

    #[test]
    fn the_document_names_every_kind_and_no_other() {
        let document = include_str!("../../../docs/counters.md");
        let (_, section) = document.split_once("\n## Events\n").expect("it has the section");
        let (section, _) = section.split_once("\n## ").expect("others follow");
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let named: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
        assert_eq!(named, EventKind::ALL.map(EventKind::name));
    }

    #[test]
    fn an_event_has_the_fields_of_the_contract_in_their_order() {
        let event = Event {
            inside: "fd00::7".parse().ok(),
            protocol: Some(Protocol::UDP),
            suppressed: 12,
            ..Event::new(EventKind::PortsExhausted, Tick::ZERO)
        };
        let row = row(event, None);
        let expected = r#"{"at":"2026-12-31T23:59:59.042Z","kind":"ports_exhausted","pool":null,"#
            .to_owned()
            + r#""inside":"fd00::7","outside":null,"protocol":"udp","ports":null,"#
            + r#""suppressed":12,"worker":1}"#;
        assert_eq!(serde_json::to_string(&row).unwrap(), expected);
        let line = "kind=ports_exhausted at=2026-12-31T23:59:59.042Z inside=fd00::7 protocol=udp \
                    suppressed=12";
        assert_eq!(row.to_string(), line);
    }
}
