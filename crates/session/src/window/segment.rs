//! What a segment says about where its connection stands.

use mooring_wire::tcp::{Flags, Tcp};

/// What a segment says about the sequence space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Number of its first byte, or of its SYN.
    pub sequence: u32,
    /// What it acknowledges, if it has ACK.
    pub acknowledgment: u32,
    /// The window that it offers, not scaled.
    pub window: u16,
    /// Its control bits.
    pub flags: Flags,
    /// Bytes of its payload: of a super-packet all of them, of a first piece those in it.
    pub payload: u32,
    /// The shift count of a SYN's window scale option (RFC 7323 §2.2).
    pub scale: Option<u8>,
    /// More of its payload comes in other pieces of its packet.
    pub in_pieces: bool,
}

impl Segment {
    /// Reads a segment of which `payload` bytes are there.
    pub fn read(tcp: &Tcp<&[u8]>, payload: u32, in_pieces: bool) -> Self {
        let flags = tcp.flags();
        Self {
            sequence: tcp.sequence(),
            acknowledgment: tcp.acknowledgment(),
            window: tcp.window(),
            flags,
            payload,
            scale: if flags.contains(Flags::SYN) { window_scale(tcp.options()) } else { None },
            in_pieces,
        }
    }

    pub(super) fn has(&self, flags: Flags) -> bool {
        self.flags.contains(flags)
    }

    /// The number behind it: SYN and FIN have one each.
    pub(super) fn end(&self) -> u32 {
        let controls = u32::from(self.has(Flags::SYN)) + u32::from(self.has(Flags::FIN));
        self.sequence.wrapping_add(self.payload).wrapping_add(controls)
    }
}

/// The shift count among the options of a SYN (RFC 7323 §2.2, §2.3: at most 14).
pub(super) fn window_scale(mut options: &[u8]) -> Option<u8> {
    loop {
        match *options {
            [END_OF_OPTIONS, ..] | [] => return None,
            [NO_OPERATION, ref rest @ ..] => options = rest,
            [WINDOW_SCALE, 3, shift, ..] => return Some(shift.min(MOST_SCALE)),
            [_, len, ..] => options = options.get(usize::from(len.max(2))..)?,
            [_] => return None,
        }
    }
}

/// RFC 7323 §2.3.
pub(super) const MOST_SCALE: u8 = 14;

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const WINDOW_SCALE: u8 = 3;
