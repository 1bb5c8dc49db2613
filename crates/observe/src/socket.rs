//! How `show` reaches the appliance: a Unix socket, one line asked, one line answered.
//!
//! The question is the topic's name; the answer is one JSON value, or `{"error": "..."}`.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Value, json};

/// What `show` can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Addresses that are held.
    Addresses,
    /// Counters of interfaces and workers.
    Counters,
    /// Dropped packets by reason.
    Drops,
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
    pub const ALL: [Self; 7] = [
        Self::Addresses,
        Self::Counters,
        Self::Drops,
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
            Self::Interfaces => "interfaces",
            Self::Mappings => "mappings",
            Self::Neighbors => "neighbors",
            Self::Sessions => "sessions",
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

/// Asks the appliance behind the socket at `path`.
///
/// # Errors
/// The operating system's when nobody answers there; `InvalidData` with the appliance's message when
/// it answers with an error.
pub fn ask(path: &Path, topic: Topic) -> io::Result<Value> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    writeln!(stream, "{topic}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let answer: Value = serde_json::from_str(&line).map_err(io::Error::other)?;
    match answer.get("error") {
        Some(error) => {
            let message = error.as_str().unwrap_or("unknown error").to_owned();
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
        None => Ok(answer),
    }
}

/// Answers the one question that a client asks on `stream`.
///
/// # Errors
/// The operating system's, when the client went away or was too slow.
pub fn serve(
    stream: &UnixStream,
    answer: impl FnOnce(Topic) -> Result<Value, String>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut question = String::new();
    BufReader::new(stream.take(MAX_QUESTION)).read_line(&mut question)?;
    let answer = question.trim().parse().and_then(answer);
    let value = answer.unwrap_or_else(|error| json!({ "error": error }));
    let mut stream = stream;
    serde_json::to_writer(io::BufWriter::new(stream), &value)?;
    stream.write_all(b"\n")
}

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of the longest question.
const MAX_QUESTION: u64 = 256;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    use serde_json::json;

    use super::{Topic, serve};

    fn exchange(question: &[u8]) -> String {
        let (mut client, server) = UnixStream::pair().expect("a socket pair");
        client.write_all(question).expect("the pair is open");
        client.shutdown(Shutdown::Write).expect("the pair is open");
        serve(&server, |topic| Ok(json!([topic.name()]))).expect("the client is there");
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("the answer is text");
        answer
    }

    #[test]
    fn one_line_is_asked_and_one_answered() {
        assert_eq!(exchange(b"drops\n"), "[\"drops\"]\n");
    }

    #[test]
    fn nonsense_gets_an_error_and_not_silence() {
        let expected = "{\"error\":\"there is nothing called `sesions` to show\"}\n";
        assert_eq!(exchange(b"sesions\n"), expected);
        assert!(exchange(b"").starts_with("{\"error\""));
    }

    #[test]
    fn names_and_topics_agree() {
        for topic in Topic::ALL {
            assert_eq!(topic.name().parse(), Ok(topic));
        }
    }
}
