//! What the appliance says itself: answers to pings, and ICMP errors, as many as it may.

use super::{Bucket, Expected, Model, Reason, Seen, is_martian};
use crate::packet::{Body, Packet, Sum};
use crate::spec::{Side, own_address};

impl Model {
    /// A ping for us.
    pub(super) fn echo(&mut self, packet: &Packet, from: Side, seen: &Seen) -> Expected {
        if !self.allow(seen.last(), Bucket::Echo) {
            return Expected::dropped("rate_limited");
        }
        if packet.sum != Sum::Right {
            return Expected::dropped("bad_checksum");
        }
        let mut reply = packet.clone();
        (reply.source, reply.destination, reply.ttl) = (packet.destination, packet.source, 64);
        if let Body::Echo { reply, .. } = &mut reply.body {
            *reply = true;
        }
        Expected { dropped: None, sent: vec![(from, reply)] }
    }

    /// A packet that gets no session; for some reasons its sender is told.
    pub(super) fn refuse(
        &mut self,
        reason: Reason,
        packet: &Packet,
        from: Side,
        seen: &Seen,
    ) -> Expected {
        let v4 = packet.source.is_ipv4();
        let strangers = from == Side::Outside && self.spec.is_outside_address(packet.destination);
        let error = match reason {
            "table_full" | "ports_exhausted" | "pool_empty" | "source_limit" | "pool_limit"
            | "half_open_limit" | "session_rate_limit"
                if !strangers =>
            {
                if v4 {
                    (3, 1)
                } else {
                    (1, 3)
                }
            }
            "ttl_expired" => {
                if v4 {
                    (11, 0)
                } else {
                    (3, 0)
                }
            }
            _ => return Expected::dropped(reason),
        };
        let sent = self.tell((error, 0, Bucket::Error), packet, from, seen);
        Expected { dropped: Some(reason), sent }
    }

    /// An ICMP error of ours.
    pub(super) fn tell(
        &mut self,
        ((kind, code), word, bucket): ((u8, u8), u32, Bucket),
        packet: &Packet,
        from: Side,
        seen: &Seen,
    ) -> Vec<(Side, Packet)> {
        if from == Side::Hairpin || is_martian(packet.source) || !self.allow(seen.last(), bucket) {
            return Vec::new();
        }
        let mut quote = packet.bytes();
        quote.truncate(if packet.source.is_ipv4() { 576 - 28 } else { 1280 - 48 });
        let body = Body::Error { kind, code, word, quote };
        let source = own_address(from, packet.source);
        vec![(from, Packet::new(source, packet.source, body))]
    }

    /// A token bucket of 1,000 a second and as many at once (RFC 1812 §4.3.2.8), divided by the workers.
    pub(super) fn allow(&mut self, worker: usize, bucket: Bucket) -> bool {
        let rate = 1000_usize.div_ceil(self.workers) as f64;
        let (tokens, filled) = self.buckets.entry((worker, bucket)).or_insert((rate, 0));
        *tokens = (*tokens + (self.now - *filled) as f64 * rate / 1000.0).min(rate);
        *filled = self.now;
        let allowed = *tokens >= 1.0 - 1e-6;
        *tokens -= if allowed { 1.0 } else { 0.0 };
        allowed
    }
}
