//! Answers for human eyes: the rows of a JSON answer as an aligned table.

use serde_json::Value;

use crate::socket::Topic;

/// The answer to `show TOPIC` as lines of text.
#[must_use]
pub fn render(topic: Topic, answer: &Value) -> String {
    match topic {
        Topic::Sessions => table(
            &["PROTO", "INSIDE", "OUTSIDE", "REMOTE", "STATE", "RULE", "PACKETS OUT/IN", "EXPIRES"],
            rows(answer).map(session),
        ),
        Topic::Mappings => table(
            &["PROTO", "INSIDE", "OUTSIDE", "POOL", "SESSIONS"],
            rows(answer).map(|row| {
                vec![
                    text(&row["protocol"]),
                    end(&row["inside"]),
                    end(&row["outside"]),
                    text(&row["pool"]),
                    text(&row["sessions"]),
                ]
            }),
        ),
        Topic::Addresses => columns(answer, &["address", "interface", "state", "route"]),
        Topic::Neighbors => {
            columns(answer, &["address", "interface", "mac", "state", "users", "held"])
        }
        Topic::Interfaces => {
            columns(answer, &["name", "device", "backend", "mac", "mtu", "addresses", "abilities"])
        }
        Topic::Drops => drops(answer),
        Topic::Counters => counters(answer),
    }
}

fn session(row: &Value) -> Vec<String> {
    vec![
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

/// A line for each counter, a column for each interface and each worker.
fn counters(answer: &Value) -> String {
    let block = |first: &str, named: Vec<(String, &Value)>| {
        let Some((_, Value::Object(some))) = named.first() else { return String::new() };
        let mut heads = vec![first];
        heads.extend(named.iter().map(|(name, _)| name.as_str()));
        let keys = some.keys().filter(|key| *key != "worker");
        let lines = keys.map(|key| {
            let cells = named.iter().map(|(_, row)| text(&row[key.as_str()]));
            std::iter::once(key.clone()).chain(cells).collect()
        });
        table(&heads, lines)
    };
    let interfaces = entries(&answer["interfaces"]).map(|(name, row)| (name.clone(), row));
    let workers = rows(&answer["workers"]).map(|row| (text(&row["worker"]), row));
    format!(
        "generation {}\n\n{}\n{}",
        text(&answer["generation"]),
        block("INTERFACE", interfaces.collect()),
        block("WORKER", workers.collect())
    )
}

/// The reasons that dropped anything, the most frequent first.
fn drops(answer: &Value) -> String {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let (mut happened, never): (Vec<_>, Vec<_>) =
        entries(answer).partition(|(_, value)| count(value) > 0);
    happened.sort_by_key(|(_, value)| std::cmp::Reverse(count(value)));
    let lines = happened.iter().map(|(name, value)| vec![(*name).clone(), text(value)]);
    let never: Vec<&str> = never.iter().map(|(name, _)| name.as_str()).collect();
    let body = table(&["REASON", "PACKETS"], lines);
    if never.is_empty() { body } else { format!("{body}\nnone for: {}\n", never.join(", ")) }
}

/// A table of these keys of each row.
fn columns(answer: &Value, keys: &[&str]) -> String {
    let heads: Vec<String> = keys.iter().map(|key| key.to_uppercase()).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    table(&heads, rows(answer).map(|row| keys.iter().map(|key| text(&row[*key])).collect()))
}

/// Lines of aligned columns; only the heads where there is no row.
fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut lines: Vec<Vec<String>> = vec![heads.iter().map(|head| (*head).to_owned()).collect()];
    lines.extend(rows);
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

fn rows(answer: &Value) -> impl Iterator<Item = &Value> {
    answer.as_array().into_iter().flatten()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::render;
    use crate::socket::Topic;

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
            "workers": [{ "worker": 0, "translated": 11 }],
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
}
