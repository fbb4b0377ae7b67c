//! What a socket loses and how late the rest is, drawn from a seed.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Default)]
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// True for this share of throws; a share that is no number is none.
    pub fn is_under(&mut self, share: f32) -> bool {
        let throw = (self.next() >> 40) as f32 / (1_u32 << 24) as f32;
        throw < share
    }

    pub fn up_to(&mut self, most: Duration) -> Duration {
        if most.is_zero() {
            return Duration::ZERO;
        }
        let most_nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        let scaled = (u128::from(self.next()) * u128::from(most_nanos)) >> 64;
        Duration::from_nanos(u64::try_from(scaled).unwrap_or(u64::MAX))
    }
}

pub(super) fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
