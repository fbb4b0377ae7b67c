//! What a detector may be told: intervals, timeouts and counts, each with its range.

use std::time::Duration;

/// The shortest interval that any rule may name.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest time that any rule may name.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Helpers that may be asked at once.
pub const HELPERS_MAX: u32 = 8;
/// Accusers that may be asked for: twice as many end a suspicion soonest, and all fit a case.
pub const ACCUSERS_NEEDED_MAX: u32 = 12;
/// How far local health may slow a node down.
pub const HEALTH_MAX: u32 = 64;

/// The rules of a detector. All nodes of a region should have the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// How often one subject is probed; 1 ms to 24 h, default 200 ms.
    pub probe_interval: Duration,
    /// The least time that a direct probe waits for its answer; 1 ms to 24 h, default 200 ms.
    pub probe_timeout_min: Duration,
    /// The most that it waits; at least `probe_timeout_min`, default 1 s. Between the two it is the round
    /// trip and a quarter, and eight times what answers took beyond theirs.
    pub probe_timeout_max: Duration,
    /// Co-observers asked to probe for us; 0 to 8, default 3.
    pub helpers: u32,
    /// Observers that must accuse before a death counts, or all where there are fewer; 1 to 12,
    /// default 3.
    pub accusers: u32,
    /// How long a suspicion lasts once twice as many accuse as must; 1 ms to 24 h, default 1 s.
    /// A refutation must cross the region within it.
    pub suspicion_min: Duration,
    /// How long it would last with one accuser; at least `suspicion_min`, default 6 s.
    pub suspicion_max: Duration,
    /// How long it always lasts in plain SWIM; 1 ms to 24 h, default 3 s (five intervals times the
    /// decimal logarithm of 1,000 nodes, as in Lifeguard's paper).
    pub suspicion_plain: Duration,
    /// Accusations a second that a node makes, and twice that from one speaker are heard; 1 to
    /// 1,000, default 5.
    pub accusations_per_second: u32,
    /// Accusations at once after a quiet time; 1 to 10,000, default 24: all that a node observes.
    pub accusations_burst: u32,
    /// How long an accusation counts; more than `suspicion_max` and `suspicion_plain`, at most 24 h,
    /// default 10 s.
    pub accusation_lifetime: Duration,
    /// How long who died or left is remembered; at least `accusation_lifetime`, at most 24 h, default
    /// 60 s. As old as this an accusation is refused by the clock on the wall, so nothing that was
    /// said of a node can be replayed to those who forgot it.
    pub forget_dead_after: Duration,
    /// How many times slower than healthy a sick node may become; 1 to 64, default 8.
    pub health_max: u32,
    /// A wake later than asked by this is a pause: the machine was stopped. Twice
    /// `probe_timeout_min` or more, at most 24 h, default 1.5 s.
    pub pause: Duration,
    /// False for plain SWIM, the baseline of comparisons: no local health, no nacks, a fixed
    /// suspicion, one accuser, no confirmation by other observers. Default true.
    pub is_lifeguard: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            probe_interval: Duration::from_millis(200),
            probe_timeout_min: Duration::from_millis(200),
            probe_timeout_max: Duration::from_secs(1),
            helpers: 3,
            accusers: 3,
            suspicion_min: Duration::from_secs(1),
            suspicion_max: Duration::from_secs(6),
            suspicion_plain: Duration::from_secs(3),
            accusations_per_second: 5,
            accusations_burst: 24,
            accusation_lifetime: Duration::from_secs(10),
            forget_dead_after: Duration::from_secs(60),
            health_max: 8,
            pause: Duration::from_millis(1500),
            is_lifeguard: true,
        }
    }
}

impl Rules {
    /// Whether every rule is in its range; the error names the first that is not.
    pub fn check(&self) -> Result<(), &'static str> {
        let is_time = |time: Duration| (SHORTEST..=LONGEST).contains(&time);
        let holds = [
            (is_time(self.probe_interval), "probe_interval is from 1 ms to 24 h"),
            (is_time(self.probe_timeout_min), "probe_timeout_min is from 1 ms to 24 h"),
            (
                is_time(self.probe_timeout_max) && self.probe_timeout_max >= self.probe_timeout_min,
                "probe_timeout_max is from probe_timeout_min to 24 h",
            ),
            (self.helpers <= HELPERS_MAX, "helpers are at most 8"),
            ((1..=ACCUSERS_NEEDED_MAX).contains(&self.accusers), "accusers are from 1 to 12"),
            (is_time(self.suspicion_min), "suspicion_min is from 1 ms to 24 h"),
            (
                is_time(self.suspicion_max) && self.suspicion_max >= self.suspicion_min,
                "suspicion_max is from suspicion_min to 24 h",
            ),
            (is_time(self.suspicion_plain), "suspicion_plain is from 1 ms to 24 h"),
            ((1..=1000).contains(&self.accusations_per_second), "accusations_per_second are from 1 to 1,000"),
            ((1..=10_000).contains(&self.accusations_burst), "accusations_burst is from 1 to 10,000"),
            (
                self.accusation_lifetime > self.suspicion_max.max(self.suspicion_plain)
                    && is_time(self.accusation_lifetime),
                "accusation_lifetime is more than any suspicion and at most 24 h",
            ),
            (
                self.forget_dead_after >= self.accusation_lifetime && is_time(self.forget_dead_after),
                "forget_dead_after is from accusation_lifetime to 24 h",
            ),
            ((1..=HEALTH_MAX).contains(&self.health_max), "health_max is from 1 to 64"),
            (
                self.pause >= self.probe_timeout_min * 2 && self.pause <= LONGEST,
                "pause is from twice probe_timeout_min to 24 h",
            ),
        ];
        holds.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, why)| Err(why))
    }

    /// How late a wake shows that the machine is starved.
    pub(super) fn late(&self) -> Duration {
        self.probe_timeout_min / 2
    }

    /// How long a direct probe over a link with this round trip waits, where answers are so late.
    ///
    /// As in RFC 6298, what is far and what varies count apart: four whole answers of a node on another
    /// continent would be a second and more, though hardly anything in them varies. The variation counts
    /// four times there and eight times here, since what varies here is what slow nodes need time for.
    pub(super) fn timeout(&self, rtt: Duration, late: Duration) -> Duration {
        let whole = match self.is_lifeguard {
            true => rtt.saturating_add(rtt / 4).saturating_add(late.saturating_mul(8)),
            false => rtt.max(late).saturating_mul(4),
        };
        whole.clamp(self.probe_timeout_min, self.probe_timeout_max)
    }

    /// What of an answer is the way alone. Plain SWIM does not tell that from lateness.
    pub(super) fn way(&self, rtt: Duration) -> Duration {
        if self.is_lifeguard { rtt } else { Duration::ZERO }
    }

    /// How long a suspicion lasts with `accusers`, of which `enough` end it soonest.
    ///
    /// Lifeguard's: logarithmic, so that the first to join shorten it most.
    pub(super) fn suspicion(&self, accusers: usize, enough: usize) -> Duration {
        if !self.is_lifeguard {
            return self.suspicion_plain;
        }
        if accusers >= enough {
            return self.suspicion_min;
        }
        let range = (self.suspicion_max - self.suspicion_min).as_micros() as u64;
        let cut = Duration::from_micros(range.saturating_mul(ln(accusers.max(1))) / ln(enough).max(1));
        self.suspicion_max.saturating_sub(cut).max(self.suspicion_min)
    }
}

/// Natural logarithms in ten-thousandths: whole, so that they are the same on every machine.
fn ln(count: usize) -> u64 {
    const LN: [u64; 25] = [
        0, 0, 6931, 10_986, 13_863, 16_094, 17_918, 19_459, 20_794, 21_972, 23_026, 23_979, 24_849, 25_649,
        26_391, 27_081, 27_726, 28_332, 28_904, 29_444, 29_957, 30_445, 30_910, 31_355, 31_781,
    ];
    LN[count.min(LN.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_range_and_what_is_not_is_named() {
        assert_eq!(Rules::default().check(), Ok(()));
        let never = Rules { probe_interval: Duration::ZERO, ..Rules::default() };
        assert_eq!(never.check(), Err("probe_interval is from 1 ms to 24 h"));
        let upside_down = Rules { suspicion_max: Duration::from_millis(10), ..Rules::default() };
        assert_eq!(upside_down.check(), Err("suspicion_max is from suspicion_min to 24 h"));
        let brief = Rules { accusation_lifetime: Duration::from_secs(6), ..Rules::default() };
        assert!(brief.check().is_err());
        assert!(Rules { accusers: 0, ..Rules::default() }.check().is_err());
        assert!(Rules { helpers: 9, ..Rules::default() }.check().is_err());
    }

    #[test]
    fn a_suspicion_shrinks_with_every_accuser() {
        let rules = Rules::default();
        let lasts: Vec<u128> = (1..=7).map(|count| rules.suspicion(count, 6).as_millis()).collect();
        assert_eq!((lasts[0], lasts[5], lasts[6]), (6000, 1000, 1000));
        assert!(lasts[..6].windows(2).all(|pair| pair[0] > pair[1]), "{lasts:?}");
        assert_eq!(rules.suspicion(1, 1), rules.suspicion_min, "who is alone waits for nobody");
        let plain = Rules { is_lifeguard: false, ..rules };
        assert_eq!(plain.suspicion(3, 6), plain.suspicion_plain);
    }

    #[test]
    fn a_timeout_is_a_round_trip_and_eight_times_lateness_within_its_bounds() {
        let rules = Rules::default();
        let of =
            |rtt, late| rules.timeout(Duration::from_millis(rtt), Duration::from_millis(late)).as_millis();
        assert_eq!((of(1, 1), of(0, 50), of(400, 0), of(400, 50)), (200, 400, 500, 900));
        assert_eq!((of(9000, 0), of(0, 9000)), (1000, 1000));
        assert_eq!(rules.timeout(Duration::MAX, Duration::MAX), rules.probe_timeout_max);
    }
}
