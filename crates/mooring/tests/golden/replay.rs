//! Runs the binary on captures made of a script's packets.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use mooring_io::pcap::Reader;
use serde_json::Value;

use super::script::Input;

/// What a replay gave.
pub(crate) struct Replayed {
    /// `INTERFACE.pcapng`, with its bytes.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// A line for each packet, then what the replay said in the end.
    pub(crate) verdicts: String,
}

impl Replayed {
    /// The last frame of each file that has one, under the name of its interface.
    pub(crate) fn last_frames(&self) -> Vec<(String, Vec<u8>)> {
        let last = self.files.iter().filter_map(|(name, bytes)| {
            let packets = Reader::new(bytes.as_slice()).expect("what we wrote is a capture");
            let last = packets.last()?.expect("what we wrote is whole");
            Some((name.trim_end_matches(".pcapng").to_owned(), last.bytes))
        });
        last.collect()
    }
}

/// Replays `packets` with the configuration.
pub(crate) fn replay(config: &Path, packets: &[Input], arguments: &[String]) -> Replayed {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mooring"));
    // From its own folder: what is said names the file, and no folder of this machine.
    command.current_dir(config.parent().expect("a folder"));
    let config = config.file_name().expect("a file");
    command.arg("replay").arg("--config").arg(config).arg("--json").args(arguments);
    for (interface, capture) in captures(packets) {
        let path = folder.path().join(format!("{interface}.pcap"));
        fs::write(&path, capture).expect("the folder is writable");
        command.arg("--in").arg(format!("{interface}={}", path.display()));
    }
    let out = folder.path().join("out");
    let output = command.arg("--out-dir").arg(&out).output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let mut files: Vec<_> = fs::read_dir(&out)
        .expect("it was made")
        .map(|entry| entry.expect("readable"))
        .map(|entry| {
            let name = entry.file_name().into_string().expect("names are text");
            (name, fs::read(entry.path()).expect("readable"))
        })
        .collect();
    files.sort();
    Replayed { files, verdicts: verdicts(&output.stdout) + "\n" + &said }
}

/// A capture of nanoseconds for each interface.
fn captures(packets: &[Input]) -> BTreeMap<&str, Vec<u8>> {
    let mut captures = BTreeMap::new();
    for packet in packets {
        let (skipped, link_type) = if packet.raw { (14, 101) } else { (0, 1) };
        let capture = captures.entry(packet.interface.as_str()).or_insert_with(|| {
            let header = [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, link_type];
            header.map(u32::to_le_bytes).concat()
        });
        let bytes = &packet.frame[skipped..packet.captured];
        let nanos = EPOCH_SECONDS * NANOS + packet.time;
        let (seconds, rest) = ((nanos / NANOS) as u32, (nanos % NANOS) as u32);
        let lengths = [bytes.len(), packet.frame.len() - skipped].map(|len| len as u32);
        let record = [seconds, rest, lengths[0], lengths[1]];
        capture.extend(record.map(u32::to_le_bytes).concat());
        capture.extend(bytes);
    }
    captures
}

/// The verdicts as lines: time since the start, interface, length, what became of it.
fn verdicts(json: &[u8]) -> String {
    let rows: Vec<Value> = serde_json::from_slice(json).expect("a JSON array");
    let mut lines = String::new();
    for row in rows {
        let nanos = row["timestamp_ns"].as_u64().expect("a number") - EPOCH_SECONDS * NANOS;
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let end = text("egress") + &text("reason");
        let line = format!(
            "{:.6} {:8} {:>5} {} {end}",
            nanos as f64 / 1e9,
            text("interface"),
            row["length"],
            text("verdict")
        );
        lines += line.trim_end();
        lines.push('\n');
    }
    lines
}

/// When every script starts: 14 November 2023.
const EPOCH_SECONDS: u64 = 1_700_000_000;
const NANOS: u64 = 1_000_000_000;
