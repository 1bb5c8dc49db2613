//! Answers for human eyes: the rows of a JSON answer as an aligned table.
//!
//! How wide a column is, is known after the last row. Until then a table keeps the text of its cells
//! (about 100 bytes a session) and never the JSON of more than one row.

mod columns;
mod rows;

use std::io::{self, BufReader, Read, Write};
use std::iter;

use serde_json::Value;

use self::columns::Columns;
use self::rows::for_each_row;
use crate::socket::Topic;

/// Writes the answer to `show TOPIC`, one JSON value, as lines of text.
///
/// # Errors
/// When `answer` cannot be read, is no answer to this question, or `out` cannot be written.
pub fn print(topic: Topic, answer: impl Read, out: &mut impl Write) -> io::Result<()> {
    let answer = BufReader::with_capacity(BUFFER, answer);
    let heads: &[&str] = match topic {
        Topic::Counters => return counters(&serde_json::from_reader(answer)?, out),
        Topic::Drops => return drops(&serde_json::from_reader(answer)?, out),
        Topic::Sessions => {
            &["PROTO", "INSIDE", "OUTSIDE", "REMOTE", "STATE", "RULE", "PACKETS OUT/IN", "EXPIRES"]
        }
        Topic::Mappings => &["PROTO", "INSIDE", "OUTSIDE", "POOL", "SESSIONS"],
        Topic::Addresses => &["ADDRESS", "INTERFACE", "STATE", "SINCE", "ROUTE", "REASON"],
        Topic::Neighbors => &["ADDRESS", "INTERFACE", "MAC", "STATE", "USERS", "HELD"],
        Topic::Events => &[
            "AT",
            "KIND",
            "POOL",
            "INSIDE",
            "OUTSIDE",
            "PROTOCOL",
            "PORTS",
            "SUPPRESSED",
            "WORKER",
        ],
        Topic::Interfaces => &[
            "NAME",
            "DEVICE",
            "BACKEND",
            "MODE",
            "STATE",
            "MAC",
            "MTU",
            "ADDRESSES",
            "ABILITIES",
            "REASON",
            "NOTICES",
        ],
    };
    let mut columns = Columns::new(heads);
    for_each_row(answer, |row| match topic {
        Topic::Sessions => columns.add(session(&row)),
        Topic::Mappings => columns.add(mapping(&row)),
        _ => columns.add(heads.iter().map(|head| text(&row[head.to_lowercase()]))),
    })?;
    write!(out, "{columns}")
}

fn session(row: &Value) -> [String; 8] {
    [
        text(&row["protocol"]),
        end(&row["inside"]),
        end(&row["outside"]),
        end(&row["remote"]),
        text(&row["state"]),
        text(&row["rule"]),
        format!("{}/{}", text(&row["forward"]["packets"]), text(&row["reverse"]["packets"])),
        row["expires_ms"]
            .as_u64()
            .map_or_else(String::new, |ms| format!("{} s", ms.div_ceil(1000))),
    ]
}

fn mapping(row: &Value) -> [String; 5] {
    [
        text(&row["protocol"]),
        end(&row["inside"]),
        end(&row["outside"]),
        text(&row["pool"]),
        text(&row["sessions"]),
    ]
}

/// A line for each counter, a column for each interface and each worker.
fn counters(answer: &Value, out: &mut impl Write) -> io::Result<()> {
    let generation = text(&answer["generation"]);
    let interfaces = entries(&answer["interfaces"]).map(|(name, row)| (name.clone(), row));
    let workers = answer["workers"].as_array().into_iter().flatten();
    let workers = workers.map(|row| (text(&row["worker"]), row));
    let interfaces = block("INTERFACE", &interfaces.collect::<Vec<_>>());
    let workers = block("WORKER", &workers.collect::<Vec<_>>());
    write!(out, "generation {generation}\n\n{interfaces}\n{workers}")
}

/// What each of these has counted, under its name.
fn block(first: &str, named: &[(String, &Value)]) -> Columns {
    let names = named.iter().map(|(name, _)| name.as_str());
    let mut columns = Columns::new(&iter::once(first).chain(names).collect::<Vec<_>>());
    let keys = named.first().into_iter().flat_map(|(_, row)| entries(row)).map(|(key, _)| key);
    // What a worker has dropped is told by `show drops`, for all of them; sizes of batches are for machines.
    let elsewhere = ["worker", "drops", "batch_sizes"];
    for key in keys.filter(|key| !elsewhere.contains(&key.as_str())) {
        let cells = named.iter().map(|(_, row)| text(&row[key.as_str()]));
        columns.add(iter::once(key.clone()).chain(cells));
    }
    columns
}

/// The reasons that dropped anything, the most frequent first.
fn drops(answer: &Value, out: &mut impl Write) -> io::Result<()> {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let (mut happened, never): (Vec<_>, Vec<_>) =
        entries(answer).partition(|(_, value)| count(value) > 0);
    happened.sort_by_key(|(_, value)| std::cmp::Reverse(count(value)));
    let mut columns = Columns::new(&["REASON", "PACKETS"]);
    for (name, value) in happened {
        columns.add([name.clone(), text(value)]);
    }
    write!(out, "{columns}")?;
    let never: Vec<&str> = never.iter().map(|(name, _)| name.as_str()).collect();
    if never.is_empty() { Ok(()) } else { write!(out, "\nnone for: {}\n", never.join(", ")) }
}

fn entries(answer: &Value) -> impl Iterator<Item = (&String, &Value)> {
    answer.as_object().into_iter().flatten()
}

/// An end of a flow, as it is written.
fn end(end: &Value) -> String {
    let (address, port) = (text(&end["address"]), text(&end["port"]));
    match (address.contains(':'), port.as_str()) {
        (_, "0") => address,
        (true, _) => format!("[{address}]:{port}"),
        (false, _) => format!("{address}:{port}"),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Bytes of the answer that are read at once.
const BUFFER: usize = 64 * 1_024;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::print;
    use crate::socket::Topic;

    fn render(topic: Topic, answer: &Value) -> String {
        let mut out = Vec::new();
        print(topic, answer.to_string().as_bytes(), &mut out).expect("memory is never full");
        String::from_utf8(out).expect("it is text")
    }

    #[test]
    fn a_session_is_one_aligned_line() {
        let answer = json!([{
            "protocol": "udp",
            "inside": { "address": "10.0.0.2", "port": 5000 },
            "outside": { "address": "203.0.113.10", "port": 40001 },
            "remote": { "address": "2001:db8::2", "port": 53 },
            "state": "established", "rule": "egress", "worker": 0,
            "age_ms": 1, "idle_ms": 1, "expires_ms": 299_001,
            "forward": { "packets": 3, "bytes": 180 }, "reverse": { "packets": 2, "bytes": 120 },
        }]);
        let expected = "\
PROTO  INSIDE         OUTSIDE             REMOTE            STATE        RULE    PACKETS OUT/IN  EXPIRES
udp    10.0.0.2:5000  203.0.113.10:40001  [2001:db8::2]:53  established  egress  3/2             300 s
";
        assert_eq!(render(Topic::Sessions, &answer), expected);
    }

    #[test]
    fn counters_have_a_column_for_each_interface_and_worker() {
        let answer = json!({
            "generation": 3,
            "interfaces": { "inside": { "rx_packets": 5 }, "outside": { "rx_packets": 6 } },
            "workers": [{ "worker": 0, "translated": 11, "drops": { "no_rule": 1 } }],
        });
        let expected = "generation 3\n\n\
            INTERFACE   inside  outside\nrx_packets  5       6\n\nWORKER      0\ntranslated  11\n";
        assert_eq!(render(Topic::Counters, &answer), expected);
    }

    #[test]
    fn what_dropped_nothing_takes_no_line() {
        let answer = json!({ "filtered": 3, "malformed": 0, "no_rule": 12, "too_big": 0 });
        let expected =
            "REASON    PACKETS\nno_rule   12\nfiltered  3\n\nnone for: malformed, too_big\n";
        assert_eq!(render(Topic::Drops, &answer), expected);
    }
    #[test]
    fn a_list_without_rows_is_its_heads() {
        assert_eq!(
            render(Topic::Addresses, &json!([])),
            "ADDRESS  INTERFACE  STATE  SINCE  ROUTE  REASON\n"
        );
        let answer =
            json!([{ "address": "203.0.113.10", "interface": "outside", "state": "held" }]);
        let expected = "ADDRESS       INTERFACE  STATE  SINCE  ROUTE  REASON\n203.0.113.10  outside    held   -      -      -\n";
        assert_eq!(render(Topic::Addresses, &answer), expected);
    }

    #[test]
    fn half_an_answer_is_an_error_and_no_table() {
        for half in ["", "[", "[{\"address\":\"203.0.113.10\"}", "[{\"addr", "[]]", "{}"] {
            let mut out = Vec::new();
            print(Topic::Addresses, half.as_bytes(), &mut out).expect_err(half);
            assert!(out.is_empty(), "{half}");
        }
    }
}
