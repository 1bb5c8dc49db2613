//! The value of the longest prefix that an address is in, without a walk from prefix to prefix.
//!
//! Prefixes contain each other or have nothing in common, so their edges cut the addresses into spans of
//! one value each. An address is searched among the first addresses of the spans, which lie side by side:
//! a few comparisons that depend on nothing but each other, where a walk waits for every node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

/// Some prefixes of both families, turned into spans. Never changed: made anew.
#[derive(Clone, Debug)]
pub(crate) struct Spans<T> {
    v4: Firsts<u32>,
    v6: Firsts<u128>,
    /// What each span has, those of IPv4 first; `None` in no prefix.
    values: Box<[Option<T>]>,
}

/// The first address of each span of a family, the lowest first; that of the first span is 0.
#[derive(Clone, Debug)]
struct Firsts<N>(Box<[N]>);

impl<T: Copy + PartialEq> Spans<T> {
    /// Of these prefixes.
    pub(crate) fn new(prefixes: &JointPrefixMap<IpNet, T>) -> Self {
        let edges = prefixes.iter().flat_map(|(prefix, _)| {
            [Some(prefix.network()), address_after(prefix.broadcast())].into_iter().flatten()
        });
        Self::between(edges, |address| prefixes.get_lpm(&address.into()).map(|(_, value)| *value))
    }

    /// From one edge to the next an address has what the first of them has.
    pub(crate) fn between(
        edges: impl Iterator<Item = IpAddr>,
        value: impl Fn(IpAddr) -> Option<T>,
    ) -> Self {
        let (mut v4, mut v6) = (vec![0], vec![0]);
        for edge in edges {
            match edge {
                IpAddr::V4(address) => v4.push(address.to_bits()),
                IpAddr::V6(address) => v6.push(address.to_bits()),
            }
        }
        let (v4, of_v4) = spans(v4, |first| value(Ipv4Addr::from_bits(first).into()));
        let (v6, of_v6) = spans(v6, |first| value(Ipv6Addr::from_bits(first).into()));
        Self { v4, v6, values: of_v4.into_iter().chain(of_v6).collect() }
    }

    /// The first address of each span.
    pub(crate) fn edges(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.v4.0.iter().map(|first| Ipv4Addr::from_bits(*first).into());
        let v6 = self.v6.0.iter().map(|first| Ipv6Addr::from_bits(*first).into());
        v4.chain(v6)
    }

    /// The value of the longest prefix that has the address.
    #[inline]
    pub(crate) fn at(&self, address: IpAddr) -> Option<T> {
        self.value(self.span(address)).copied()
    }

    /// The number of the span that has the address.
    #[inline]
    pub(crate) fn span(&self, address: IpAddr) -> u32 {
        match address {
            IpAddr::V4(v4) => self.v4.span(v4.to_bits()),
            IpAddr::V6(v6) => self.v4.len() + self.v6.span(v6.to_bits()),
        }
    }

    /// The same, without a search if it is this one.
    #[inline]
    pub(crate) fn span_near(&self, address: IpAddr, near: u32) -> u32 {
        let is_this = match address {
            IpAddr::V4(v4) => self.v4.has(near, v4.to_bits()),
            IpAddr::V6(v6) => self.v6.has(near.wrapping_sub(self.v4.len()), v6.to_bits()),
        };
        if is_this { near } else { self.span(address) }
    }

    /// What a span has.
    #[inline]
    pub(crate) fn value(&self, span: u32) -> Option<&T> {
        self.values.get(span as usize)?.as_ref()
    }
}

/// The address behind another, if that is not the last one.
fn address_after(address: IpAddr) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().checked_add(1)?).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().checked_add(1)?).into(),
    })
}

impl<T: Copy + PartialEq> Default for Spans<T> {
    fn default() -> Self {
        Self::new(&JointPrefixMap::new())
    }
}

/// From where a span may begin, and what an address has there: the spans.
fn spans<N: Copy + Ord, T: Copy + PartialEq>(
    mut firsts: Vec<N>,
    value: impl Fn(N) -> Option<T>,
) -> (Firsts<N>, Vec<Option<T>>) {
    firsts.sort_unstable();
    firsts.dedup();
    let mut spans: Vec<(N, Option<T>)> =
        firsts.into_iter().map(|first| (first, value(first))).collect();
    spans.dedup_by(|next, before| next.1 == before.1);
    let (firsts, values): (Vec<N>, Vec<Option<T>>) = spans.into_iter().unzip();
    (Firsts(firsts.into()), values)
}

impl<N: Copy + Ord> Firsts<N> {
    fn len(&self) -> u32 {
        self.0.len() as u32
    }

    #[inline]
    fn span(&self, address: N) -> u32 {
        // The first span begins with the first address.
        self.0.partition_point(|first| *first <= address) as u32 - 1
    }

    #[inline]
    fn has(&self, span: u32, address: N) -> bool {
        let first = |at: usize| self.0.get(at).copied();
        let (at, next) = (span as usize, (span as usize).wrapping_add(1));
        first(at).is_some_and(|first| first <= address)
            && first(next).is_none_or(|next| address < next)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use ipnet::IpNet;
    use prefix_trie::joint::JointPrefixMap;
    use proptest::prelude::{Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

    use super::Spans;

    /// Few networks, so that many contain each other, and some at either end of all addresses.
    fn prefix() -> impl Strategy<Value = IpNet> {
        let v4 = (any::<u32>(), 0..=32u8).prop_map(|(bits, len)| {
            let address = Ipv4Addr::from_bits(crowded(bits.into(), 32) as u32);
            IpNet::new(address.into(), len).expect("no longer than an address").trunc()
        });
        let v6 = (any::<u128>(), 0..=128u8).prop_map(|(bits, len)| {
            let address = Ipv6Addr::from_bits(crowded(bits, 128));
            IpNet::new(address.into(), len).expect("no longer than an address").trunc()
        });
        prop_oneof![v4, v6]
    }

    /// One of a few numbers of so many bits.
    fn crowded(bits: u128, of: u32) -> u128 {
        let all = u128::MAX >> (128 - of);
        match bits % 5 {
            0 => bits >> 120 & 3,
            1 => all - (bits >> 120 & 3),
            2 => 0xa << (of - 4) | (bits >> 120 & 7),
            3 => (bits >> 120 & 7) << (of / 2),
            _ => bits & all,
        }
    }

    proptest! {
        #[test]
        fn finds_what_the_longest_prefix_has(
            prefixes in prop::collection::vec((prefix(), 0u8..4), 0..40),
            others in prop::collection::vec((any::<u32>(), any::<u128>()), 0..20),
        ) {
            let map: JointPrefixMap<IpNet, u8> = prefixes.iter().copied().collect();
            let spans = Spans::new(&map);
            let edges = prefixes.iter().flat_map(|(prefix, _)| {
                let [first, last] = [prefix.network(), prefix.broadcast()];
                [first, last, before(first), after(last)]
            });
            let others = others.iter().flat_map(|(v4, v6)| {
                [Ipv4Addr::from_bits(*v4).into(), Ipv6Addr::from_bits(*v6).into()]
            });
            for address in edges.chain(others) {
                let longest = map.get_lpm(&IpNet::from(address)).map(|(_, value)| *value);
                prop_assert_eq!(spans.at(address), longest, "{}", address);
                let span = spans.span(address);
                for near in 0..=spans.values.len() as u32 {
                    prop_assert_eq!(spans.span_near(address, near), span, "{} near {}", address, near);
                }
            }
        }
    }

    fn before(address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().wrapping_sub(1)).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().wrapping_sub(1)).into(),
        }
    }

    fn after(address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().wrapping_add(1)).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().wrapping_add(1)).into(),
        }
    }

    #[test]
    fn without_prefixes_nothing_has_a_value() {
        assert_eq!(Spans::<u8>::default().at([10, 0, 0, 1].into()), None);
    }
}
