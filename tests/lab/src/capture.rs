//! Every frame that arrives at one device, from before a test to after it.
//!
//! `tcpdump` writes the first bytes of each frame; a frame that it lost is an error, because a leak
//! test that missed a frame has shown nothing. `tcpdump` insists on changing its user, so captures
//! need root: they do not work in a user namespace.

use std::fs;
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::isolation::SCRATCH;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::site::Family;

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Process,
    file: PathBuf,
    /// The device's own MAC: frames from it were sent, not received.
    own: Vec<u8>,
}

/// The frames of a finished capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames(Vec<Frame>);

/// One frame: its beginning, as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The first bytes, at most 256.
    pub bytes: Vec<u8>,
    /// Its whole length in bytes; above the MTU for a super-packet.
    pub length: usize,
    /// When it arrived, since 1970 ([`crate::clock::since_1970`]).
    pub at: Duration,
}

impl Capture {
    /// Captures what arrives at `device` of `namespace` from now on.
    ///
    /// # Errors
    /// When `tcpdump` is missing or refuses.
    pub fn start(namespace: &Namespace, device: &str) -> Result<Self> {
        // No filter for a direction: libpcap's loses the first frames without counting them.
        let own = namespace.mac(device)?;
        // The profile that Debian confines tcpdump with lets it write only to *.pcap.
        let file = PathBuf::from(format!("{SCRATCH}/{}-{device}.pcap", namespace.name()));
        let snap = SNAP.to_string();
        let mut tcpdump = Process::spawn(
            "tcpdump",
            namespace
                .command("tcpdump")
                .args(["-i", device, "-n", "-U", "--immediate-mode", "-Z", "root"])
                .args(["-B", RING_KIB, "-s", &snap, "-w"])
                .arg(&file),
        )?;
        tcpdump.wait_for_line("listening on").context("cannot capture; this needs root")?;
        Ok(Self { tcpdump, file, own })
    }

    /// Ends it and returns all frames.
    ///
    /// # Errors
    /// When a frame was lost.
    pub fn stop(self) -> Result<Frames> {
        thread::sleep(SETTLE);
        self.tcpdump.signal(Signal::INT)?;
        let exit = self.tcpdump.wait()?;
        let count = |what: &str| summary(&exit.stderr, what);
        let (captured, received) = (count("captured")?, count("received by filter")?);
        let dropped = count("dropped by kernel")?;
        ensure!(dropped == 0 && captured == received, "the capture lost frames:\n{}", exit.stderr);
        let frames = Frames::parse(&fs::read(&self.file)?)?;
        ensure!(frames.0.len() == captured, "the capture file is incomplete");
        Ok(frames.received_by(&self.own))
    }
}

impl Frames {
    /// All frames in the order of their arrival.
    #[must_use]
    pub fn all(&self) -> &[Frame] {
        &self.0
    }

    /// The length of the longest, in bytes.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.0.iter().map(|frame| frame.length).max().unwrap_or(0)
    }

    /// IP packets from this address, without messages of neighbours and of groups: those tell of an
    /// address, they use no service of it.
    #[must_use]
    pub fn packets_from(&self, source: impl Into<IpAddr>) -> Vec<&Frame> {
        let source = source.into();
        self.0.iter().filter(|frame| frame.is_packet_from(source)).collect()
    }

    /// Finds no leak of a [`Site`](crate::Site), where there was something to find: packets of the
    /// pools of both families, and no frame that carries an address of `inside`.
    ///
    /// # Errors
    /// What was missing, or leaked.
    pub fn ensure_translated(&self, inside: &[IpAddr]) -> Result<()> {
        for Family { pool, .. } in Family::BOTH {
            ensure!(!self.packets_from(pool).is_empty(), "no packet from {pool} was captured");
        }
        let leaks = self.carrying(inside);
        ensure!(leaks.is_empty(), "inside addresses in {leaks:02x?}");
        Ok(())
    }

    /// Frames that carry one of `addresses` anywhere in their headers.
    ///
    /// Headers of every layer, quoted ones too, keep addresses at even offsets; so only those are
    /// looked at. Four random bytes would be taken for one of four addresses once in about 10^9.
    #[must_use]
    pub fn carrying<A: Copy + Into<IpAddr>>(&self, addresses: &[A]) -> Vec<&Frame> {
        let addresses: Vec<Vec<u8>> = addresses.iter().copied().map(octets).collect();
        self.0.iter().filter(|frame| frame.carries(&addresses)).collect()
    }

    /// Takes those that `wanted` picks.
    #[must_use]
    pub fn filter(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<&Frame> {
        self.0.iter().filter(|frame| wanted(&frame.bytes)).collect()
    }

    fn received_by(mut self, own: &[u8]) -> Self {
        self.0.retain(|frame| frame.bytes.get(6..12) != Some(own));
        self
    }

    /// Reads a classic pcap file (microseconds, this machine's byte order).
    fn parse(file: &[u8]) -> Result<Self> {
        let (header, mut rest) = file.split_at_checked(24).context("a pcap header")?;
        ensure!(header[..4] == PCAP_MAGIC.to_ne_bytes(), "not a pcap file");
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let (record, after) = rest.split_at_checked(16).context("a record header")?;
            let kept = word(&record[8..12]);
            let (bytes, after) = after.split_at_checked(kept).context("a whole record")?;
            let micros = Duration::from_micros(word(&record[4..8]) as u64);
            let at = Duration::from_secs(word(&record[..4]) as u64) + micros;
            frames.push(Frame { bytes: bytes.to_vec(), length: word(&record[12..16]), at });
            rest = after;
        }
        Ok(Self(frames))
    }
}

impl Frame {
    fn is_packet_from(&self, address: IpAddr) -> bool {
        let part = |range: Range<usize>| self.bytes.get(range);
        match address {
            IpAddr::V4(address) => {
                part(12..14) == Some(&[8, 0]) && part(26..30) == Some(&address.octets())
            }
            IpAddr::V6(address) => {
                let is_message =
                    part(20..21) == Some(&[58]) && matches!(part(54..55), Some([133..=137 | 143]));
                part(12..14) == Some(&[0x86, 0xdd])
                    && part(22..38) == Some(&address.octets())
                    && !is_message
            }
        }
    }

    fn carries(&self, addresses: &[Vec<u8>]) -> bool {
        let headers = &self.bytes[..self.bytes.len().min(HEADERS)];
        addresses.iter().any(|address| {
            headers.windows(address.len()).step_by(2).any(|window| window == address)
        })
    }
}

fn octets(address: impl Into<IpAddr>) -> Vec<u8> {
    match address.into() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn word(bytes: &[u8]) -> usize {
    let value = u32::from_ne_bytes(bytes.try_into().expect("four bytes"));
    value.try_into().expect("usize holds 32 bits")
}

/// The number before `what` in tcpdump's closing lines, e.g. `12 packets captured`.
fn summary(stderr: &str, what: &str) -> Result<usize> {
    let line = stderr.lines().find(|line| line.ends_with(what));
    let number = line.and_then(|line| line.split(' ').next()?.parse().ok());
    number.with_context(|| format!("tcpdump did not say how many were {what}:\n{stderr}"))
}

/// Bytes kept of each frame: enough for a report of some groups.
const SNAP: usize = 256;
/// Bytes in which all headers end, quoted ones too.
const HEADERS: usize = 128;
/// Frames on their way through the kernel when the capture ends.
const SETTLE: Duration = Duration::from_millis(100);
const RING_KIB: &str = "65536";
const PCAP_MAGIC: u32 = 0xa1b2_c3d4;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use super::{Frame, Frames, PCAP_MAGIC, octets};
    use crate::site::Family;

    fn file(frames: &[&[u8]]) -> Vec<u8> {
        let mut file = PCAP_MAGIC.to_ne_bytes().to_vec();
        file.extend([0; 20]);
        for frame in frames {
            file.extend(7_u32.to_ne_bytes());
            file.extend(500_000_u32.to_ne_bytes());
            file.extend(u32::try_from(frame.len()).expect("short").to_ne_bytes());
            file.extend(60_000_u32.to_ne_bytes());
            file.extend(*frame);
        }
        file
    }

    #[test]
    fn frames_come_back_with_their_whole_length() {
        let frames = Frames::parse(&file(&[&[1, 2, 3], &[4]])).expect("a good file");
        let at = Duration::from_millis(7_500);
        assert_eq!(frames.all()[0], Frame { bytes: vec![1, 2, 3], length: 60_000, at });
        assert_eq!((frames.all().len(), frames.longest()), (2, 60_000));
    }

    #[test]
    fn frames_that_the_device_sent_are_left_out() {
        let (sent, received) = ([7; 14], [8; 14]);
        let frames = Frames::parse(&file(&[&sent, &received])).expect("a good file");
        assert_eq!(frames.received_by(&[7; 6]).all()[0].bytes, received);
    }

    #[test]
    fn a_cut_record_is_an_error() {
        let whole = file(&[&[1, 2, 3]]);
        assert!(Frames::parse(&whole[..whole.len() - 1]).is_err());
    }

    #[test]
    fn a_search_that_could_find_nothing_is_an_error() {
        let frame = |ether_type: [u8; 2], at: usize, source: IpAddr| {
            let mut bytes = vec![0; 64];
            bytes[12..14].copy_from_slice(&ether_type);
            let source = octets(source);
            bytes[at..at + source.len()].copy_from_slice(&source);
            Frame { bytes, length: 64, at: Duration::ZERO }
        };
        let [v4, v6] = Family::BOTH;
        let (one, other) = (frame([8, 0], 26, v4.pool), frame([0x86, 0xdd], 22, v6.pool));
        let mut announced = other.clone();
        (announced.bytes[20], announced.bytes[54]) = (58, 136);
        let leak = frame([8, 0], 26, v4.client);
        let found = |frames: &[&Frame]| {
            let frames = Frames(frames.iter().copied().cloned().collect());
            frames.ensure_translated(&[v4.client, v6.client]).is_ok()
        };
        assert!(found(&[&one, &other]));
        assert!(!found(&[&other]) && !found(&[&one]) && !found(&[&one, &announced]));
        assert!(!found(&[&one, &other, &leak]));
    }

    #[test]
    fn an_address_is_found_at_every_even_offset_and_only_there() {
        let inside = Ipv4Addr::new(10, 0, 0, 2);
        for offset in 0..60 {
            let mut bytes = vec![0xff; 64];
            bytes[offset..offset + 4].copy_from_slice(&inside.octets());
            let frames = Frames(vec![Frame { bytes, length: 64, at: Duration::ZERO }]);
            assert_eq!(frames.carrying(&[inside]).len(), usize::from(offset % 2 == 0));
        }
    }
}
