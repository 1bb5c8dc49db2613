//! Writes pcapng: one section, one Ethernet interface, nanoseconds. Nothing of the machine or of the
//! time of writing goes into the file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// A capture file being written.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl Writer<BufWriter<File>> {
    /// Makes the file, or empties it, for packets of the interface `name`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn create(path: &Path, name: &str) -> io::Result<Self> {
        Self::new(BufWriter::new(File::create(path)?), name)
    }
}

impl<W: Write> Writer<W> {
    /// Writes the header of a capture of the interface `name`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W, name: &str) -> io::Result<Self> {
        let mut writer = Self { out };
        let mut section = Vec::new();
        section.extend(BYTE_ORDER.to_le_bytes());
        section.extend([1, 0, 0, 0]); // version 1.0
        section.extend((-1i64).to_le_bytes()); // as long as it gets
        option(&mut section, USER_APPLICATION, b"mooring");
        option(&mut section, END_OF_OPTIONS, b"");
        writer.block(SECTION_HEADER, &section)?;
        let mut interface = Vec::new();
        interface.extend([ETHERNET, 0, 0, 0]);
        interface.extend(0u32.to_le_bytes()); // no limit to the length of packets
        option(&mut interface, NAME, name.as_bytes());
        option(&mut interface, TIME_RESOLUTION, &[9]);
        option(&mut interface, END_OF_OPTIONS, b"");
        writer.block(INTERFACE, &interface)?;
        Ok(writer)
    }

    /// Adds a frame, `timestamp_ns` nanoseconds after 1970.
    ///
    /// # Errors
    /// Those of the output; also for a frame that no block can hold.
    pub fn write(&mut self, timestamp_ns: u64, frame: &[u8]) -> io::Result<()> {
        let len = u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut packet = Vec::with_capacity(frame.len() + 24);
        packet.extend(0u32.to_le_bytes()); // the first interface
        packet.extend(((timestamp_ns >> 32) as u32).to_le_bytes());
        packet.extend((timestamp_ns as u32).to_le_bytes());
        packet.extend(len.to_le_bytes());
        packet.extend(len.to_le_bytes());
        packet.extend(frame);
        pad(&mut packet);
        self.block(ENHANCED_PACKET, &packet)
    }

    /// Writes out what is still buffered and gives the output back.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let len = u32::try_from(body.len() + 12).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(body)?;
        self.out.write_all(&len.to_le_bytes())
    }
}

/// Appends an option; names of interfaces are far shorter than the 65,535 bytes that one can have.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

/// Everything stands at a multiple of four bytes.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const ETHERNET: u8 = 1;

const END_OF_OPTIONS: u16 = 0;
const NAME: u16 = 2;
const USER_APPLICATION: u16 = 4;
const TIME_RESOLUTION: u16 = 9;
