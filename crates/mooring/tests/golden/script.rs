//! The packets of a case as text. A line is a time in seconds, an interface, and a packet:
//!
//! ```text
//! 0.000 inside  udp 10.0.0.2:5000 > 192.0.2.2:7000 "ahoy"
//! 0.010 outside udp 192.0.2.2:7000 > 203.0.113.10:? size 100
//! 0.020 inside  tcp SA 10.0.0.2:80 > 192.0.2.2:7000
//! 0.030 inside  ping 10.0.0.2 > 192.0.2.2 id 7
//! 0.040 outside pong 192.0.2.2 > 203.0.113.10 id ?
//! 0.050 outside error 3/4 198.51.100.1 > 203.0.113.10 mtu 1280
//! 0.060 inside  arp 10.0.0.2 > 10.0.0.1
//! 0.070 inside  hex 0200...
//! ```
//!
//! `?` is the source port, or the identifier, of the packet that left by this interface last, and an
//! `error` quotes that packet (`quote N` bytes of it). What else may follow: `ttl N`, `df`, `cut N`
//! (the capture holds N bytes), `set AT=HEX` (bytes written over the frame), `fragments N` (in pieces
//! of N bytes; `reversed`). A line `with ARGUMENTS` gives arguments to the replay, `raw INTERFACE`
//! makes its capture one of raw IP.

use super::packet::{self, Words};
use super::replay::Replayed;

/// A packet of an input capture.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) interface: String,
    /// Nanoseconds after the start.
    pub(crate) time: u64,
    pub(crate) frame: Vec<u8>,
    /// How much of it the capture holds.
    pub(crate) captured: usize,
    /// Without its Ethernet header.
    pub(crate) raw: bool,
}

/// A script, read as far as its lines can be completed.
pub(crate) struct Script {
    lines: Vec<String>,
    next: usize,
    packets: Vec<Input>,
    arguments: Vec<String>,
    raw: Vec<String>,
    /// What left last by each interface.
    last: Vec<(String, Vec<u8>)>,
    /// The next line knows what left before it.
    told: bool,
}

impl Script {
    pub(crate) fn new(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self {
            lines: lines.map(str::to_owned).collect(),
            next: 0,
            packets: Vec::new(),
            arguments: Vec::new(),
            raw: Vec::new(),
            last: Vec::new(),
            told: false,
        }
    }

    /// Reads on; false at a line that has to be told what left before it.
    pub(crate) fn advance(&mut self) -> bool {
        while let Some(line) = self.lines.get(self.next).cloned() {
            let packet = line.split('"').next().unwrap_or_default();
            let needs = packet.contains('?') || packet.contains(" error ");
            if needs && !self.told {
                return false;
            }
            self.told = false;
            self.next += 1;
            self.read(&line);
        }
        true
    }

    /// What left so far.
    pub(crate) fn tell(&mut self, replayed: &Replayed) {
        self.last = replayed.last_frames();
        self.told = true;
    }

    pub(crate) fn packets(&self) -> &[Input] {
        &self.packets
    }

    pub(crate) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    fn read(&mut self, line: &str) {
        let mut words = Words::new(line);
        match words.next() {
            "with" => self.arguments.extend(words.rest()),
            "raw" => self.raw.extend(words.rest()),
            time => {
                let seconds: f64 = time.parse().unwrap_or_else(|_| panic!("no time: {line}"));
                let interface = words.next().to_owned();
                let last = self.last.iter().find(|(name, _)| *name == interface);
                let last = last.map(|(_, frame)| frame.as_slice());
                for (frame, captured) in packet::build(words, last) {
                    self.packets.push(Input {
                        raw: self.raw.contains(&interface),
                        interface: interface.clone(),
                        time: (seconds * 1e9).round() as u64,
                        frame,
                        captured,
                    });
                }
            }
        }
    }
}
