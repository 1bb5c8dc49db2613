//! Which of a bucket's tags are the one that is looked for. It is asked twice for every packet: all at
//! once where the processor can, else eight at a time, in one word.

#[cfg(target_arch = "x86_64")]
pub(crate) use crate::memory::equal_tags as equal;

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use self::words::equal;

/// Without instructions for it.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod words {
    /// A bit for each of `tags` that is `tag`, the lowest for the first.
    #[inline(always)]
    pub(crate) const fn equal(tags: &[u8; 12], tag: u8) -> u32 {
        let [a, b, c, d, e, f, g, h, rest @ ..] = *tags;
        let first =
            gather(zeros(u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ (EACH * tag as u64)));
        let rest = gather(zeros((u32::from_le_bytes(rest) ^ (EACH as u32 * tag as u32)) as u64));
        first | (rest & 0xf) << 8
    }

    /// The highest bit of each byte of `word` that is 0, and no other bit.
    #[inline(always)]
    const fn zeros(word: u64) -> u64 {
        // A byte is 0 when neither its low bits carry into its highest one nor that is set.
        !(((word & LOW_BITS) + LOW_BITS) | word | LOW_BITS)
    }

    /// The highest bits of the eight bytes, side by side.
    #[inline(always)]
    const fn gather(highest: u64) -> u32 {
        // Each product of a bit and a power of two that lands in the top byte lands on a place of its own.
        ((highest >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    }

    /// One in every byte.
    const EACH: u64 = 0x0101_0101_0101_0101;

    /// All bits of every byte but the highest.
    const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
}

#[cfg(test)]
mod tests {
    use super::{equal, words};

    #[test]
    fn all_at_once_is_the_same_as_one_by_one() {
        for tag in 0..=255u8 {
            for pattern in 0..1 << 12 {
                // What differs by one bit, or by a carry, is not the same.
                let other = |slot| tag ^ [0x80, 0x01, 0xff][slot % 3];
                let tags = std::array::from_fn(|slot| match pattern >> slot & 1 {
                    1 => tag,
                    _ => other(slot),
                });
                assert_eq!(equal(&tags, tag), pattern, "{tags:02x?}");
                assert_eq!(words::equal(&tags, tag), pattern, "{tags:02x?}");
            }
        }
    }
}
