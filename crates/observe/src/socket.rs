//! How `show` reaches the appliance: a Unix socket, one line asked, one line answered.
//!
//! The question is the topic's name, or `explain` and what is to be explained. The answer is one JSON value and a line feed, written and read
//! as it comes to be: neither side holds all of a long one. Where there is no answer it is
//! `{"error": "..."}`. An answer that goes wrong after it has begun just ends: whoever has not seen
//! the line feed knows.

mod client;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::explain::Explain;

pub use self::client::{AskError, Incoming, ask};
pub use self::server::{Reply, Unanswered, serve, turn_away};

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Show this.
    Show(Topic),
    /// Explain this.
    Explain(Explain),
}

/// What `show` can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Addresses that are held.
    Addresses,
    /// Counters of interfaces and workers.
    Counters,
    /// Dropped packets by reason.
    Drops,
    /// What a management system is told, the newest of it.
    Events,
    /// Interfaces and what they can do.
    Interfaces,
    /// Endpoint-independent mappings.
    Mappings,
    /// Neighbours and their state.
    Neighbors,
    /// Live sessions.
    Sessions,
}

impl Topic {
    /// All topics, by name.
    pub const ALL: [Self; 8] = [
        Self::Addresses,
        Self::Counters,
        Self::Drops,
        Self::Events,
        Self::Interfaces,
        Self::Mappings,
        Self::Neighbors,
        Self::Sessions,
    ];

    /// The topic's name on the command line and on the socket.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Counters => "counters",
            Self::Drops => "drops",
            Self::Events => "events",
            Self::Interfaces => "interfaces",
            Self::Mappings => "mappings",
            Self::Neighbors => "neighbors",
            Self::Sessions => "sessions",
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Show(topic) => topic.fmt(f),
            Self::Explain(question) => write!(f, "{EXPLAIN}{question}"),
        }
    }
}

impl FromStr for Question {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        match line.strip_prefix(EXPLAIN) {
            Some(question) => question.parse().map(Self::Explain),
            None => line.parse().map(Self::Show),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Topic {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let topic = Self::ALL.into_iter().find(|topic| topic.name() == name);
        topic.ok_or_else(|| format!("there is nothing called `{name}` to show"))
    }
}

/// How a question begins that is not a topic.
const EXPLAIN: &str = "explain ";

/// How long either side waits for the other's next word.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the appliance waits for a client that does not read on, as one behind a pager may.
const PATIENCE_WITH_READERS: Duration = Duration::from_secs(60);

/// Bytes of the longest question, and of the longest error.
const MAX_LINE: u64 = 1_024;

/// Bytes that either side collects before it passes them on.
const BUFFER: usize = 64 * 1_024;
