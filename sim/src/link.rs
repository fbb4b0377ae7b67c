//! Links: what QUIC makes of a network that delays, loses, repeats and reorders packets.
//!
//! A link has three lanes. A lane is a stream: what is lost on it comes late, never out of order and
//! never twice. Datagrams are lost, repeated and reordered as the network does it. A direction that
//! carries nothing at all, since it is cut or its sender does not run, holds what is sent on streams
//! back until it carries again, and ends the link after [`limits::LINK_TIMEOUT`] of silence.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::Duration;

use bytes::Bytes;
use starling_core::hot::Lane;
use starling_core::limits;
use starling_core::machine::LinkSlot;
use starling_core::rng::Rng;
use starling_core::time::Time;
use starling_core::wire::message::ControlBody;

/// Bytes of a packet that are not its sender's: IP, UDP, QUIC's header and its seal.
pub const PACKET_OVERHEAD_BYTES: usize = 28 + 30;
/// What a packet carries.
const PACKET_BYTES: usize = 1200;
/// How long a receiver may wait before it acknowledges a packet: QUIC's `max_ack_delay`.
const ACKNOWLEDGE_DELAY: Duration = Duration::from_millis(25);
/// Times that a piece of a stream is lost at the most, so that every draw ends.
const LOSSES_MAX: u32 = 12;

/// What the way between two nodes is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// One way, in each direction.
    pub latency: Duration,
    /// A packet takes up to so much longer, evenly distributed.
    pub jitter: Duration,
    /// Probability that a packet is lost, 0.0 to 1.0.
    pub loss: f64,
    /// Probability that a datagram comes twice.
    pub duplication: f64,
    /// Probability that a datagram takes another latency, and is overtaken.
    pub reordering: f64,
    /// Bytes a second.
    pub bandwidth: Option<NonZeroU64>,
}

impl Conditions {
    /// A way that takes `latency` and is otherwise perfect.
    pub fn perfect(latency: Duration) -> Conditions {
        Conditions {
            latency,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            bandwidth: None,
        }
    }

    pub(crate) fn draw_jitter(&self, rng: &mut Rng) -> Duration {
        if self.jitter.is_zero() {
            return Duration::ZERO;
        }
        Duration::from_nanos(rng.below(self.jitter.as_nanos() as u64 + 1))
    }

    pub(crate) fn is_lost(&self, rng: &mut Rng) -> bool {
        happens(self.loss, rng)
    }

    /// How much later a piece of a stream comes since packets of it were lost: each time it is sent
    /// again when the loss shows, at first after a round trip and a bit, then after twice as long.
    pub(crate) fn resending(&self, bytes: usize, rng: &mut Rng) -> Duration {
        if self.loss <= 0.0 {
            return Duration::ZERO;
        }
        let mut missing = bytes.div_ceil(PACKET_BYTES).max(1);
        let mut late = Duration::ZERO;
        let mut wait = self.latency * 3 + self.jitter * 2 + ACKNOWLEDGE_DELAY;
        for _ in 0..LOSSES_MAX {
            missing = (0..missing).filter(|_| self.is_lost(rng)).count();
            if missing == 0 {
                break;
            }
            late += wait;
            wait = (wait * 2).min(limits::LINK_TIMEOUT / 2);
        }
        late
    }
}

/// Whether something of this probability happens.
pub(crate) fn happens(probability: f64, rng: &mut Rng) -> bool {
    probability > 0.0 && ((rng.next_u64() >> 11) as f64) < probability * (1u64 << 53) as f64
}

/// What crosses a link.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A control message, and its encoding where the codec is to be part of the run.
    Control(ControlBody, Option<Bytes>),
    /// The body of a bundle frame.
    Bundle(Bytes),
    /// The body of an acknowledge frame.
    Acknowledge(Bytes),
    /// The body of a frame on its way over other nodes.
    Relayed(Bytes),
    /// The body of a bundle on its way to several nodes over others.
    Copies(Bytes),
    /// A datagram.
    Probe(Bytes),
}

/// A frame with what the sender knows of it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The lane that it is on.
    pub lane: Lane,
    /// What it is.
    pub frame: Frame,
    /// Its bytes on the stream.
    pub bytes: usize,
    /// Hash of its bytes, for the trace.
    pub content: u64,
}

/// One direction of a link.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// When the last frame of each lane arrives: nothing overtakes on a lane.
    arrivals: [Time; 3],
    /// When the last byte of each lane has left, if nothing else is sent on those that go before it.
    free_at: [Time; 3],
    /// Since when nothing comes out of it.
    pub silent: Option<Time>,
    /// What was sent since.
    pub held: Vec<Sent>,
}

impl Way {
    /// When `sent` arrives that leaves at `now`.
    pub fn arrival(&mut self, now: Time, sent: &Sent, conditions: &Conditions, rng: &mut Rng) -> Time {
        let mut leaves = now;
        if let Some(bandwidth) = conditions.bandwidth {
            let packets = sent.bytes.div_ceil(PACKET_BYTES).max(1);
            let bytes = (sent.bytes + packets * PACKET_OVERHEAD_BYTES) as u64;
            let takes = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / bandwidth);
            // The control lane goes first, then the priority lane, as the product has its streams sent.
            for free_at in &mut self.free_at[sent.lane as usize..] {
                *free_at = now.max(*free_at) + takes;
            }
            leaves = self.free_at[sent.lane as usize];
        }
        let takes = conditions.latency + conditions.draw_jitter(rng) + conditions.resending(sent.bytes, rng);
        let last = &mut self.arrivals[sent.lane as usize];
        *last = (leaves + takes).max(*last);
        *last
    }

    /// When the copies of a datagram arrive that leaves at `now`: none, one or two.
    pub fn datagram(&self, now: Time, conditions: &Conditions, rng: &mut Rng) -> [Option<Time>; 2] {
        let mut copy = || {
            let again = match happens(conditions.reordering, rng) {
                true => conditions.latency,
                false => Duration::ZERO,
            };
            let arrives = now + conditions.latency + conditions.draw_jitter(rng) + again;
            (!conditions.is_lost(rng)).then_some(arrives)
        };
        let first = copy();
        let second = if happens(conditions.duplication, rng) { first } else { None };
        [first, second]
    }
}

/// A link between two nodes, as both ends call it.
#[derive(Debug)]
pub(crate) struct Pair {
    /// (node, its name for the link); the dialler first.
    pub ends: [(usize, LinkSlot); 2],
    /// Whether an end still has the link.
    pub is_up: [bool; 2],
    /// From the end of this index to the other.
    pub ways: [Way; 2],
    /// Bytes of bundles that the end of this index sent and the other has not worked off.
    pub unread: [usize; 2],
    /// What came to the end of this index and is not read yet.
    pub waiting: [VecDeque<Sent>; 2],
    /// Whether the end of this index does not read bundles now.
    pub is_waiting: [bool; 2],
    /// What it is like.
    pub conditions: Conditions,
}

impl Pair {
    /// The index of the end at `node`.
    pub fn side_of(&self, node: usize) -> usize {
        usize::from(self.ends[0].0 != node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(bytes: usize) -> Sent {
        Sent { lane: Lane::Bulk, frame: Frame::Bundle(Bytes::new()), bytes, content: 0 }
    }

    #[test]
    fn a_lane_keeps_its_order_and_loses_nothing() {
        let latency = Duration::from_millis(10);
        let jitter = Duration::from_millis(20);
        let conditions = Conditions { jitter, loss: 0.3, ..Conditions::perfect(latency) };
        let (mut way, mut rng) = (Way::default(), Rng::new(1));
        let times: Vec<Time> = (0..500)
            .map(|at| way.arrival(Time::from_millis(at), &sent(5000), &conditions, &mut rng))
            .collect();
        assert!(times.is_sorted());
        assert!(times.iter().zip(0..).all(|(at, left)| *at >= Time::from_millis(left) + latency));
    }

    #[test]
    fn bandwidth_is_shared_by_what_is_sent_at_once() {
        let conditions =
            Conditions { bandwidth: NonZeroU64::new(1_000_000), ..Conditions::perfect(Duration::ZERO) };
        let (mut way, mut rng) = (Way::default(), Rng::new(1));
        let last = (0..100).map(|_| way.arrival(Time::ZERO, &sent(10_000), &conditions, &mut rng)).last();
        let bytes = 100 * (10_000 + 9 * PACKET_OVERHEAD_BYTES);
        assert_eq!(last, Some(Time(bytes as u64 * 1000)));
    }

    #[test]
    fn what_goes_first_does_not_wait_behind_bulk_and_bulk_waits_for_it() {
        let conditions =
            Conditions { bandwidth: NonZeroU64::new(1_000_000), ..Conditions::perfect(Duration::ZERO) };
        let (mut way, mut rng) = (Way::default(), Rng::new(1));
        let mut leaves = |lane, bytes| {
            way.arrival(Time::ZERO, &Sent { lane, ..sent(bytes) }, &conditions, &mut rng).0 / 1000
        };
        let whole = |bytes: usize| (bytes + bytes.div_ceil(PACKET_BYTES) * PACKET_OVERHEAD_BYTES) as u64;
        assert_eq!(leaves(Lane::Bulk, 100_000), whole(100_000));
        assert_eq!(leaves(Lane::Control, 100), whole(100));
        assert_eq!(leaves(Lane::Priority, 200), whole(100) + whole(200));
        assert_eq!(leaves(Lane::Bulk, 300), whole(100_000) + whole(100) + whole(200) + whole(300));
    }

    #[test]
    fn datagrams_are_lost_and_repeated_as_often_as_was_asked_for() {
        let conditions =
            Conditions { loss: 0.2, duplication: 0.1, ..Conditions::perfect(Duration::from_millis(1)) };
        let (way, mut rng) = (Way::default(), Rng::new(1));
        let copies: Vec<_> = (0..10_000).map(|_| way.datagram(Time::ZERO, &conditions, &mut rng)).collect();
        let lost = copies.iter().filter(|copies| copies[0].is_none()).count();
        let twice = copies.iter().filter(|copies| copies[1].is_some()).count();
        assert!((1850..2150).contains(&lost), "{lost}");
        assert!((700..900).contains(&twice), "{twice}: of those that are not lost");
    }
}
