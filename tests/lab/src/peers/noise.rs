//! Pseudo-random bytes that both ends can make, and their SHA-256.

use std::io::{self, Read};

use sha2::Sha256;

/// An endless reader of the same pseudo-random bytes every time (SplitMix64).
#[derive(Debug, Clone, Default)]
pub struct Noise {
    state: u64,
}

/// A SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of everything that `reader` holds.
    ///
    /// # Errors
    /// When reading fails.
    pub fn of(mut reader: impl Read) -> io::Result<Self> {
        use sha2::Digest as _;

        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = reader.read(&mut buffer)?;
            if length == 0 {
                return Ok(Self(hash.finalize().into()));
            }
            hash.update(&buffer[..length]);
        }
    }

    /// Of the first `bytes` of [`Noise`].
    ///
    /// # Panics
    /// Never: noise can always be read.
    #[must_use]
    pub fn of_noise(bytes: u64) -> Self {
        Self::of(Noise::default().take(bytes)).expect("noise can always be read")
    }
}

impl Read for Noise {
    /// Fills whole words; shorter tails are cut from the last one, so read in multiples of 8.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for chunk in buffer.chunks_mut(8) {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes()[..chunk.len()]);
        }
        Ok(buffer.len())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::{Digest, Noise};

    #[test]
    fn the_digest_is_sha_256() {
        let abc = Digest::of(&b"abc"[..]).expect("bytes can be read").to_string();
        assert!(abc.starts_with("ba7816bf8f01cfea"), "{abc}");
    }

    #[test]
    fn noise_repeats_itself_and_nothing_else() {
        let mut bytes = [0; 64];
        Noise::default().read_exact(&mut bytes).expect("endless");
        assert_ne!(bytes[..32], bytes[32..]);
        assert_eq!(Digest::of_noise(64), Digest::of(&bytes[..]).expect("bytes can be read"));
    }
}
