//! The session table of the appliance, and next to it what the server saw.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::exchange::Observed;

/// Prints both side by side.
///
/// # Errors
/// When the server saw a source that no session explains.
pub(crate) fn print(sessions: &Value, observed: &[Observed]) -> Result<()> {
    let mut rows = vec![HEAD.map(str::to_owned)];
    let mut explained = 0;
    for session in sessions.as_array().into_iter().flatten() {
        let outside = end(session, "outside");
        let seen = observed.iter().find(|seen| {
            session["protocol"] == seen.protocol && outside == seen.source.to_string()
        });
        explained += usize::from(seen.is_some());
        rows.push([
            text(&session["protocol"]),
            end(session, "inside"),
            outside,
            end(session, "remote"),
            text(&session["state"]),
            format!("{} / {}", session["forward"]["packets"], session["reverse"]["packets"]),
            seen.map_or_else(|| "-".to_owned(), |seen| format!("{} ✓", seen.source)),
        ]);
    }
    println!("\n{}", layout(&rows));
    ensure!(explained == observed.len(), "no session explains what the server saw: {observed:?}");
    Ok(())
}

/// Columns as wide as their widest cell, the last one set apart.
fn layout(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..COLUMNS).map(width).collect();
    let left: usize = widths[..COLUMNS - 1].iter().map(|width| width + GAP).sum();
    let mut lines = vec![format!("  {:<left$}│ the server saw", "mooring show sessions")];
    lines.push(format!("  {}┼{}", "─".repeat(left), "─".repeat(widths[COLUMNS - 1] + 1)));
    for row in rows {
        let (last, cells) = row.split_last().expect("a row has columns");
        let mut line = "  ".to_owned();
        for (cell, width) in cells.iter().zip(&widths) {
            line.push_str(&format!("{cell:<column$}", column = width + GAP));
        }
        lines.push(format!("{line}│ {last}").trim_end().to_owned());
    }
    lines.join("\n") + "\n"
}

fn end(session: &Value, name: &str) -> String {
    format!("{}:{}", text(&session[name]["address"]), session[name]["port"])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("?").to_owned()
}

const COLUMNS: usize = 7;
const GAP: usize = 2;
const HEAD: [&str; COLUMNS] =
    ["protocol", "inside", "outside", "remote", "state", "packets", "as source"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Observed, print};

    fn observed(source: &str) -> [Observed; 1] {
        [Observed { protocol: "udp", source: source.parse().expect("an address") }]
    }

    #[test]
    fn a_source_without_a_session_is_an_error() {
        let session = json!([{
            "protocol": "udp", "state": "established",
            "inside": { "address": "10.0.0.2", "port": 5000 },
            "outside": { "address": "203.0.113.10", "port": 6000 },
            "remote": { "address": "192.0.2.2", "port": 7000 },
            "forward": { "packets": 1 }, "reverse": { "packets": 1 },
        }]);
        print(&session, &observed("203.0.113.10:6000")).expect("explained");
        print(&session, &observed("203.0.113.10:6001")).expect_err("another port");
        print(&session, &observed("10.0.0.2:5000")).expect_err("an inside address");
    }
}
