//! What became of the packets: a line for each as JSON, and the sums for people.

use std::io::{self, BufWriter, Stdout, Write};

use mooring_engine::{Counters, DropReason, Verdict};
use mooring_policy::{InterfaceId, Policy};
use serde_json::{Value, json};

use super::playback::{Arrival, Fate};
use crate::exit::Failure;
use crate::failed;
use crate::say::{count, say};

/// Notes what became of each packet.
pub(super) struct Verdicts {
    /// Names of the interfaces.
    names: Vec<String>,
    /// Where the list goes, if it is wanted.
    list: Option<BufWriter<Stdout>>,
    packets: u64,
    truncated: u64,
}

impl Verdicts {
    /// Nothing so far; `list` asks for a JSON array on standard output, an object for each packet.
    pub(super) fn new(policy: &Policy, list: bool) -> Self {
        let names = policy.interfaces.iter().map(|interface| interface.name.clone()).collect();
        let list = list.then(|| BufWriter::new(io::stdout()));
        Self { names, list, packets: 0, truncated: 0 }
    }

    /// Notes one packet.
    ///
    /// # Errors
    /// When the list cannot be written; a reader that went away is no error.
    pub(super) fn note(&mut self, arrival: &Arrival<'_>, fate: Fate) -> Result<(), Failure> {
        let separator = if self.packets == 0 { "[\n" } else { ",\n" };
        self.packets += 1;
        self.truncated += u64::from(fate == Fate::Truncated);
        let row = self.row(arrival, fate);
        self.print(&format!("{separator}{row}"))
    }

    /// Ends the list and tells the sums.
    ///
    /// # Errors
    /// As [`Self::note`].
    pub(super) fn finish(mut self, counters: &Counters) -> Result<(), Failure> {
        self.print(if self.packets == 0 { "[]\n" } else { "\n]\n" })?;
        if let Some(list) = &mut self.list {
            printed(list.flush())?;
        }
        for line in self.sums(counters) {
            say(&line);
        }
        Ok(())
    }

    fn row(&self, arrival: &Arrival<'_>, fate: Fate) -> Value {
        let mut row = json!({
            "packet": self.packets,
            "timestamp_ns": arrival.timestamp,
            "interface": self.name(arrival.ingress),
            "length": arrival.frame.len(),
            "verdict": word(fate),
        });
        match fate {
            Fate::Verdict(Verdict::Tx(egress)) => row["egress"] = self.name(egress).into(),
            Fate::Verdict(Verdict::Drop(reason)) => row["reason"] = reason.name().into(),
            Fate::Truncated => row["reason"] = TRUNCATED.into(),
            Fate::Verdict(_) => {}
        }
        row
    }

    /// A line for each interface, one for all packets, one for each reason of drops.
    fn sums(&self, counters: &Counters) -> Vec<String> {
        let width = self.names.iter().map(String::len).max().unwrap_or(0);
        let ports = self.names.iter().zip(&counters.interfaces);
        let mut lines: Vec<_> = ports
            .map(|(name, port)| {
                let (came, left) = (port.rx_packets + port.rx_unreadable, port.tx_packets);
                format!("{name:width$}  {came:>8} came  {left:>8} left")
            })
            .collect();
        let reasons = DropReason::ALL.map(|reason| (reason.name(), counters.dropped(reason)));
        let dropped: Vec<_> = reasons
            .into_iter()
            .chain([(TRUNCATED, self.truncated)])
            .filter(|(_, count)| *count > 0)
            .collect();
        let total: u64 = dropped.iter().map(|(_, count)| count).sum();
        lines.push(format!(
            "{}: {} translated, {} for us, {total} dropped; {} begun",
            count(self.packets, "packet"),
            counters.translated,
            counters.local,
            count(counters.sessions_created, "session")
        ));
        lines.extend(dropped.iter().map(|(reason, count)| format!("dropped {reason}: {count}")));
        lines
    }

    fn name(&self, interface: InterfaceId) -> &str {
        &self.names[usize::from(interface.0)]
    }

    fn print(&mut self, text: &str) -> Result<(), Failure> {
        match &mut self.list {
            Some(list) => printed(list.write_all(text.as_bytes())),
            None => Ok(()),
        }
    }
}

fn printed(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(&error, None)),
        _ => Ok(()),
    }
}

fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Verdict(Verdict::Tx(_)) => "tx",
        Fate::Verdict(Verdict::Local | Verdict::ToAll) => "local",
        Fate::Verdict(Verdict::Service(_)) => "service",
        Fate::Verdict(Verdict::HandOver(_) | Verdict::HandOverHalf(_)) => "hand_over",
        Fate::Verdict(Verdict::Hold) => "hold",
        Fate::Verdict(Verdict::Cut) => "cut",
        Fate::Verdict(Verdict::Drop(_)) | Fate::Truncated => "drop",
    }
}

/// The reason of a drop that only captures know.
const TRUNCATED: &str = "truncated";
