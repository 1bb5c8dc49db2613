//! What the payload of every packet says: of which run it is, of which slot of flows, its number there,
//! and when it was sent. It ends the IP packet, so that a receiver finds it whatever a NAT has done to the
//! headers.

/// The stamp of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Tells runs apart, so that a late packet is not counted in the next one.
    pub(crate) run: u16,
    pub(crate) slot: u32,
    pub(crate) sequence: u32,
    /// When it was sent, in nanoseconds.
    pub(crate) time: u64,
}

impl Stamp {
    /// Its bytes in a packet.
    pub(crate) const LEN: usize = 18;

    /// All numbers in network order.
    pub(crate) fn bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..2].copy_from_slice(&self.run.to_be_bytes());
        bytes[2..6].copy_from_slice(&self.slot.to_be_bytes());
        bytes[6..10].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[10..].copy_from_slice(&self.time.to_be_bytes());
        bytes
    }

    /// The last bytes of the IP packet in a frame; `None` when there is none that is long enough.
    ///
    /// Whether they are a stamp of ours the receiver sees by their values.
    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(ETHERNET..)?;
        let len = match (frame.get(12..ETHERNET)?, packet) {
            ([0x08, 0x00], [_, _, high, low, ..]) => usize::from(u16::from_be_bytes([*high, *low])),
            ([0x86, 0xdd], [_, _, _, _, high, low, ..]) => {
                IPV6 + usize::from(u16::from_be_bytes([*high, *low]))
            }
            _ => return None,
        };
        let (_, bytes) = packet.get(..len)?.split_last_chunk::<{ Self::LEN }>()?;
        let (run, rest) = bytes.split_first_chunk()?;
        let (slot, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        Some(Self {
            run: u16::from_be_bytes(*run),
            slot: u32::from_be_bytes(*slot),
            sequence: u32::from_be_bytes(*sequence),
            time: u64::from_be_bytes(*rest.first_chunk()?),
        })
    }
}

const ETHERNET: usize = 14;
const IPV6: usize = 40;

#[cfg(test)]
mod tests {
    use super::Stamp;

    #[test]
    fn a_stamp_is_found_before_the_padding_of_a_short_frame() {
        let stamp = Stamp { run: 0x0102, slot: 3, sequence: 4, time: 0x0506_0708_090a_0b0c };
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 20 + Stamp::LEN as u8]);
        frame.extend([0; 16]);
        frame.extend([1, 2, 0, 0, 0, 3, 0, 0, 0, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(&frame[34..], stamp.bytes());
        frame.extend([0xee; 8]);
        assert_eq!(Stamp::of(&frame), Some(stamp));
        // Cut, not IP, nothing at all.
        assert_eq!(Stamp::of(&frame[..51]), None);
        frame[13] = 6;
        assert_eq!(Stamp::of(&frame), None);
        assert_eq!(Stamp::of(&frame[..13]), None);
    }
}
