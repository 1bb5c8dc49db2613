//! The captures of a replay: read whole, merged by time.

use std::path::PathBuf;
use std::str::FromStr;

use mooring_io::pcap::{self, Captured, Fault, LinkType, Reader};
use mooring_policy::{InterfaceId, Policy};
use mooring_wire::ethernet::HEADER_LEN;

use super::playback::Arrival;
use crate::exit::{BAD_INPUT, Failure};
use crate::failed;
use crate::offline::{own_mac, peer_mac};

/// An argument of `--in`: the packets of this file came in by this interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Name of the interface.
    pub interface: String,
    /// A pcap or pcapng file.
    pub file: PathBuf,
}

impl FromStr for Input {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((interface, file)) if !interface.is_empty() && !file.is_empty() => {
                Ok(Self { interface: interface.to_owned(), file: file.into() })
            }
            _ => Err("write INTERFACE=FILE, such as inside=in.pcap"),
        }
    }
}

/// All packets of all captures, in order of time.
#[derive(Debug)]
pub(super) struct Captures {
    packets: Vec<(InterfaceId, Captured)>,
}

impl Captures {
    /// Reads the files. Packets of the same moment stay in the order of the interfaces, then of the
    /// arguments, then of the file.
    ///
    /// # Errors
    /// An input that names no interface, a file that is no capture or breaks off: with the file and
    /// the place in it.
    pub(super) fn read(inputs: &[Input], policy: &Policy) -> Result<Self, Failure> {
        let mut packets = Vec::new();
        for input in inputs {
            read(input, interface(input, policy)?, &mut packets)?;
        }
        packets.sort_by_key(|(interface, captured)| (captured.timestamp_ns, *interface));
        Ok(Self { packets })
    }

    /// The moment of the first packet, in nanoseconds after 1970; 0 without any.
    pub(super) fn origin(&self) -> u64 {
        self.packets.first().map_or(0, |(_, captured)| captured.timestamp_ns)
    }

    /// The packets, in order of time.
    pub(super) fn arrivals(&self) -> impl Iterator<Item = Arrival<'_>> {
        self.packets.iter().map(|(ingress, captured)| Arrival {
            ingress: *ingress,
            timestamp: captured.timestamp_ns,
            frame: &captured.bytes,
            truncated: captured.is_truncated(),
        })
    }
}

/// The interface that an input names.
fn interface(input: &Input, policy: &Policy) -> Result<InterfaceId, Failure> {
    let interfaces = (0u8..).map(InterfaceId).zip(&policy.interfaces);
    let mut named = interfaces.filter(|(_, interface)| interface.name == input.interface);
    named.next().map(|(id, _)| id).ok_or_else(|| {
        let names: Vec<_> = policy.interfaces.iter().map(|one| one.name.as_str()).collect();
        Failure {
            code: BAD_INPUT,
            message: format!("mooring: error: --in: no interface is named `{}`", input.interface),
            hint: Some(format!("the configuration has: {}", names.join(", "))),
        }
    })
}

/// Appends the packets of one capture, each with an Ethernet header.
fn read(
    input: &Input,
    interface: InterfaceId,
    packets: &mut Vec<(InterfaceId, Captured)>,
) -> Result<(), Failure> {
    let file = input.file.display();
    let reader = Reader::open(&input.file).map_err(|error| match error.fault {
        Fault::Io(error) => Failure {
            code: BAD_INPUT,
            message: format!("mooring: error: cannot read `{file}`: {error}"),
            hint: None,
        },
        _ => malformed(input, &error),
    })?;
    for captured in reader {
        let mut captured = captured.map_err(|error| malformed(input, &error))?;
        if captured.link_type == LinkType::Ip {
            add_ethernet(&mut captured, interface);
        }
        packets.push((interface, captured));
    }
    Ok(())
}

fn malformed(input: &Input, error: &pcap::Error) -> Failure {
    failed(&format!("`{}` is no whole capture: {error}", input.file.display()), None)
}

/// Puts the header in front of a raw IP packet that it would have had on our link.
fn add_ethernet(captured: &mut Captured, interface: InterfaceId) {
    let is_v6 = captured.bytes.first().is_some_and(|first| first >> 4 == 6);
    let ether_type: u16 = if is_v6 { 0x86dd } else { 0x0800 };
    let mut frame = Vec::with_capacity(HEADER_LEN + captured.bytes.len());
    frame.extend(own_mac(interface).0);
    frame.extend(peer_mac(interface).0);
    frame.extend(ether_type.to_be_bytes());
    frame.append(&mut captured.bytes);
    captured.bytes = frame;
    captured.original_len = captured.original_len.saturating_add(HEADER_LEN as u32);
}

#[cfg(test)]
mod tests {
    use super::Input;

    #[test]
    fn an_input_is_an_interface_and_a_file() {
        let parsed: Input = "inside=a=b.pcap".parse().expect("both are there");
        assert_eq!((parsed.interface.as_str(), parsed.file.to_str()), ("inside", Some("a=b.pcap")));
        for wrong in ["", "inside", "=a.pcap", "inside="] {
            assert!(wrong.parse::<Input>().is_err(), "{wrong}");
        }
    }
}
