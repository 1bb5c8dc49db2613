//! What a capture on `wan` shows of moves: who sent for the persistent addresses, and when.

use std::net::IpAddr;
use std::time::Duration;

use mooring_lab::{Frame, Frames};

use super::{PERSISTENT, PERSISTENT_V6};

/// Who holds the addresses from when on, by the word of the API server.
#[derive(Debug, Clone)]
pub struct Held {
    /// When the API server had answered the write that says so; for who loses them and who gets them.
    pub since: Duration,
    /// The holder's MAC address on `wan`.
    pub mac: Vec<u8>,
}

/// A capture, and who held the addresses meanwhile, in the order of time.
#[derive(Debug, Clone, Copy)]
pub struct Moves<'a> {
    /// What arrived at the server.
    pub frames: &'a Frames,
    /// From the first holder on.
    pub held: &'a [Held],
}

impl Moves<'_> {
    /// For each holder the time from the server's answer to its first translated packet; `None` where there was
    /// none before the next move.
    #[must_use]
    pub fn take_ups(&self) -> Vec<Option<Duration>> {
        let ends = self.held.iter().skip(1).map(|next| next.since).chain([Duration::MAX]);
        self.held.iter().zip(ends).map(|(held, end)| self.take_up(held, end)).collect()
    }

    /// Frames that carry a persistent address (the capture has no frames of the server's own) of somebody who had not held it for longer than [`LETTING_GO`], or did not yet
    /// hold it.
    #[must_use]
    pub fn stale(&self) -> Vec<&Frame> {
        let addresses: [IpAddr; 2] = [PERSISTENT.into(), PERSISTENT_V6.into()];
        let sent = self.frames.carrying(&addresses);
        sent.into_iter().filter(|frame| self.is_stale(frame)).collect()
    }

    /// How many take-ups were told of by ARP (sender and target the address), and by unsolicited neighbour
    /// advertisements that override.
    #[must_use]
    pub fn announced(&self) -> (usize, usize) {
        let by = |told: fn(&[u8]) -> bool| {
            let held = self.held.iter();
            held.filter(|held| {
                let mut all = self.frames.all().iter();
                all.any(|frame| {
                    told(&frame.bytes) && is_from(frame, &held.mac) && self.is_of(frame, held)
                })
            })
            .count()
        };
        (by(is_gratuitous_arp), by(is_overriding_advertisement))
    }

    fn take_up(&self, held: &Held, end: Duration) -> Option<Duration> {
        let sent = self.frames.packets_from(PERSISTENT);
        // It may have seen the write before we had its answer.
        let from = held.since.saturating_sub(BEFORE);
        let first = sent
            .into_iter()
            .find(|frame| frame.at >= from && frame.at < end && is_from(frame, &held.mac))?;
        Some(first.at.saturating_sub(held.since))
    }

    fn is_stale(&self, frame: &Frame) -> bool {
        let mut allowed = self.held.iter().enumerate().filter(|(number, held)| {
            let lost = self.held.get(number + 1).map_or(Duration::MAX, |next| next.since);
            is_from(frame, &held.mac)
                && frame.at + BEFORE >= held.since
                && frame.at <= lost.saturating_add(LETTING_GO)
        });
        allowed.next().is_none()
    }

    /// Whether a frame is of the time from this holder's begin to the next one's.
    fn is_of(&self, frame: &Frame, held: &Held) -> bool {
        let end = self.held.iter().map(|other| other.since).find(|since| *since > held.since);
        frame.at + BEFORE >= held.since && frame.at < end.unwrap_or(Duration::MAX)
    }
}

fn is_from(frame: &Frame, mac: &[u8]) -> bool {
    frame.bytes.get(6..12) == Some(mac)
}

fn is_gratuitous_arp(frame: &[u8]) -> bool {
    let address = Some(&PERSISTENT.octets()[..]);
    frame.get(..6) == Some(&[0xff; 6])
        && frame.get(12..14) == Some(&[8, 6])
        && frame.get(28..32) == address
        && frame.get(38..42) == address
}

/// ICMPv6 type 136 about the address, to all nodes, with the override flag.
fn is_overriding_advertisement(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x86, 0xdd])
        && frame.get(20) == Some(&58)
        && frame.get(54) == Some(&136)
        && frame.get(38..54) == Some(&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
        && frame.get(58).is_some_and(|flags| flags & 0x20 != 0)
        && frame.get(62..78) == Some(&PERSISTENT_V6.octets())
}

/// An agent sends no frame for an address later than this after it saw that it has lost it.
pub const LETTING_GO: Duration = Duration::from_millis(100);
/// So long before our clock had the answer the write may have been at work.
const BEFORE: Duration = Duration::from_millis(100);
