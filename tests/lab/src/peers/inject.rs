//! Frames as they are, put on a link by `tcpreplay`.

use std::fs;

use anyhow::Result;

use crate::isolation::SCRATCH;
use crate::namespace::Namespace;

/// Sends each of `frames` once from `device`, as fast as it goes.
///
/// # Errors
/// When `tcpreplay` is missing or cannot send one.
pub fn inject(namespace: &Namespace, device: &str, frames: &[Vec<u8>]) -> Result<()> {
    let file = format!("{SCRATCH}/{}-{device}-inject.pcap", namespace.name());
    fs::write(&file, pcap(frames))?;
    namespace.tool("tcpreplay", &["--quiet", "--topspeed", "--intf1", device, &file]).map(drop)
}

/// A classic pcap file of Ethernet frames, all of one moment.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = HEADER.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
    for frame in frames {
        let length = u32::try_from(frame.len()).expect("frames are short");
        file.extend([1, 0, length, length].iter().flat_map(|word: &u32| word.to_ne_bytes()));
        file.extend(frame);
    }
    file
}

/// Magic, version 2.4 (in two halves of one word), no zone, no accuracy, frames up to 64 KiB,
/// Ethernet.
const HEADER: [u32; 6] = [0xa1b2_c3d4, VERSION, 0, 0, 0xffff, 1];
const VERSION: u32 = if cfg!(target_endian = "little") { 0x0004_0002 } else { 0x0002_0004 };
