//! Hashes of a flow that could have the place of ours. All are given the same words.

use std::hash::{BuildHasher, Hasher, RandomState};

use mooring_session::{Address, FlowKey, KeyedHash};

use crate::chosen::scramble;

/// What a flow is looked up by.
pub(crate) trait FlowHash {
    /// The same for the same key and secret.
    fn flow<A: Address>(&self, key: &FlowKey<A>) -> u64;
}

/// A hasher of a map, which is given words one after the other.
pub(crate) struct Words<B>(pub(crate) B);

/// Multiply and exclusive-or, without a secret and nothing behind it, as compilers hash their names: what a
/// measure of floods must see.
#[derive(Default)]
pub(crate) struct Multiplied(u64);

/// Does something with each of the hashes, and with what it is called.
pub(crate) trait ForEach {
    fn with(&mut self, name: &'static str, hash: &impl FlowHash);
}

/// Those that are compared, under secrets that are drawn or, of ours, made of `start`.
pub(crate) fn for_each(start: u64, todo: &mut impl ForEach) {
    let secret = std::array::from_fn(|at| scramble(start << 32 | at as u64));
    let [a, b, c, d] = secret;
    todo.with("ours", &KeyedHash::new(secret));
    todo.with("foldhash fast", &Words(foldhash::fast::RandomState::default()));
    todo.with("foldhash quality", &Words(foldhash::quality::RandomState::default()));
    todo.with("ahash", &Words(ahash::RandomState::with_seeds(a, b, c, d)));
    todo.with("SipHash-1-3", &Words(RandomState::new()));
}

impl FlowHash for KeyedHash {
    #[inline]
    fn flow<A: Address>(&self, key: &FlowKey<A>) -> u64 {
        self.flow(key)
    }
}

impl<B: BuildHasher> FlowHash for Words<B> {
    #[inline]
    fn flow<A: Address>(&self, key: &FlowKey<A>) -> u64 {
        let [source, source_high] = key.source.words();
        let [destination, destination_high] = key.destination.words();
        let mut hasher = self.0.build_hasher();
        if size_of::<A>() == 4 {
            hasher.write_u64(source << 32 | destination);
        } else {
            [source, destination, source_high, destination_high]
                .into_iter()
                .for_each(|word| hasher.write_u64(word));
        }
        hasher.write_u64(
            u64::from(key.source_port) << 48
                | u64::from(key.destination_port) << 32
                | u64::from(key.vrf) << 16
                | u64::from(key.protocol.0),
        );
        hasher.write_u64(key.tag.into());
        hasher.finish()
    }
}

impl Hasher for Multiplied {
    fn write(&mut self, _: &[u8]) {
        unreachable!("it is given words only");
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
