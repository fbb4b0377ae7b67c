//! How a quantity is distributed, to one percent: DDSketch.
//!
//! Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
//! guarantees" (2019), with the lowest bins collapsed above a bound (their algorithm 3). The values
//! are whole numbers and the sum is kept in 128 bits, so that a merge has no rounding and hence no
//! order.

use bytes::{BufMut, BytesMut};

use super::VALUE_MAX;
use super::pack::{VARINT_BYTES_MAX, put_count, put_varint, take_count, take_varint};
use crate::wire::codec::{DecodeError, Reader};

/// The relative accuracy: a quantile is within one percent of a value of that rank.
pub const ACCURACY: f64 = 0.01;
/// Bins that are not empty; more collapse into the lowest that is kept. Without gaps they span a
/// factor of 28,000, below which quantiles read too high.
pub const BINS_MAX: usize = 512;
/// The bin of 2^64 - 1; the bin of 1 is 0.
const INDEX_MAX: u16 = 2_218;

/// A sketch of whole numbers that estimates every quantile to one percent.
///
/// Merging adds: it is commutative and associative, and gives the sketch of the union whatever was
/// collapsed on the way, because a bin that is among the highest 512 of the union is so in each part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    zeros: u64,
    /// Index and count, ascending, no count zero. Bin i holds what is above g^(i-1) and at most g^i,
    /// with g = (1 + accuracy) / (1 - accuracy).
    bins: Vec<(u16, u64)>,
    sum: u128,
    /// 2^64 - 1 when empty.
    min: u64,
    /// Zero when empty.
    max: u64,
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution { zeros: 0, bins: Vec::new(), sum: 0, min: u64::MAX, max: 0 }
    }
}

impl Distribution {
    /// The longest encoding, in bytes.
    pub const BYTES_MAX: usize = 3 * VARINT_BYTES_MAX + 16 + 2 + BINS_MAX * (2 + VARINT_BYTES_MAX);

    /// Notes one value. From 2^53 - 1 values on nothing is noted any more.
    pub fn record(&mut self, value: u64) {
        self.record_many(value, 1);
    }

    /// Notes `times` equal values, or none of them if there would be more than 2^53 - 1 in all.
    pub fn record_many(&mut self, value: u64, times: u64) {
        if times == 0 || self.count().saturating_add(times) > VALUE_MAX {
            return;
        }
        self.sum += u128::from(value) * u128::from(times);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if value == 0 {
            self.zeros += times;
            return;
        }
        let index = index_of(value);
        match self.bins.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(at) => self.bins[at].1 += times,
            Err(at) => self.bins.insert(at, (index, times)),
        }
        if self.bins.len() > BINS_MAX {
            let (_, lowest) = self.bins.remove(0);
            self.bins[0].1 += lowest;
        }
    }

    /// The union of `parts`, all at once; counts and sum saturate.
    pub fn union<'a>(parts: impl IntoIterator<Item = &'a Distribution>) -> Distribution {
        let mut sum = DistributionSum::default();
        let (mut min, mut max) = (u64::MAX, 0);
        for part in parts {
            sum.add(part);
            min = min.min(part.min);
            max = max.max(part.max);
        }
        sum.distribution(min, max)
    }

    /// Adds all that `from` has noted.
    pub fn merge(&mut self, from: &Distribution) {
        *self = Distribution::union([&*self, from]);
    }

    /// How many values were noted.
    pub fn count(&self) -> u64 {
        self.bins.iter().fold(self.zeros, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.zeros == 0 && self.bins.is_empty()
    }

    /// The exact sum of all values.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// The exact least value.
    pub fn min(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.min)
    }

    /// The exact greatest value.
    pub fn max(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.max)
    }

    /// The mean of all values.
    pub fn mean(&self) -> Option<f64> {
        (!self.is_empty()).then(|| self.sum as f64 / self.count() as f64)
    }

    /// The value below which the share `q` (0 to 1, else clamped) of the values lies, to one percent;
    /// nothing when empty. In the lowest bin of a collapsed sketch it may be too high.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let last = self.count().checked_sub(1)?;
        let rank = (q.clamp(0.0, 1.0) * last as f64) as u64;
        if rank < self.zeros {
            return Some(0.0);
        }
        let mut below = self.zeros;
        for (index, count) in &self.bins {
            below = below.saturating_add(*count);
            if below > rank {
                let middle = (f64::from(*index) * log_gamma()).exp() * (1.0 - ACCURACY);
                return Some(middle.clamp(self.min as f64, self.max as f64));
            }
        }
        Some(self.max as f64)
    }

    /// Appends zeros, sum (16), min and max when there is any value, then the bins: each as the
    /// distance from the bin before, and its count.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        put_varint(out, self.zeros);
        put_count(out, self.bins.len());
        let mut next = 0;
        for (index, count) in &self.bins {
            put_varint(out, u64::from(index - next));
            put_varint(out, *count);
            next = index + 1;
        }
        if !self.is_empty() {
            out.put_u128_le(self.sum);
            put_varint(out, self.min);
            put_varint(out, self.max);
        }
    }

    /// Reads a sketch of at most `count_max` values.
    pub(super) fn decode(reader: &mut Reader<'_>, count_max: u64) -> Result<Distribution, DecodeError> {
        let mut out = Distribution { zeros: take_varint(reader)?, ..Distribution::default() };
        let mut count = out.zeros;
        let mut next = 0;
        for _ in 0..take_count(reader, BINS_MAX, "bins")? {
            let distance = take_varint(reader)?;
            let index = u16::try_from(distance).ok().and_then(|distance| distance.checked_add(next));
            let index = index.filter(|index| *index <= INDEX_MAX).ok_or(DecodeError::Invalid("bin"))?;
            let values = take_varint(reader)?;
            if values == 0 {
                return Err(DecodeError::Invalid("bin"));
            }
            count = count.checked_add(values).ok_or(DecodeError::TooLong("values"))?;
            out.bins.push((index, values));
            next = index + 1;
        }
        if count > count_max {
            return Err(DecodeError::TooLong("values"));
        }
        if count > 0 {
            out.sum = u128::from_le_bytes(reader.array()?);
            out.min = take_varint(reader)?;
            out.max = take_varint(reader)?;
            let is_within = |least: u64, most: u64| {
                let count = u128::from(count);
                (count * u128::from(least)..=count * u128::from(most)).contains(&out.sum)
            };
            if out.min > out.max || !is_within(out.min, out.max) {
                return Err(DecodeError::Invalid("sum of values"));
            }
        }
        Ok(out)
    }
}

/// The sum over all edges, kept up to date as each of them changes; all bins, collapsed on reading.
#[derive(Debug)]
pub(super) struct DistributionSum {
    zeros: u64,
    all: Vec<u64>,
    sum: u128,
}

impl Default for DistributionSum {
    fn default() -> DistributionSum {
        DistributionSum { zeros: 0, all: vec![0; usize::from(INDEX_MAX) + 1], sum: 0 }
    }
}

impl DistributionSum {
    fn add(&mut self, part: &Distribution) {
        self.zeros = self.zeros.saturating_add(part.zeros);
        self.sum = self.sum.saturating_add(part.sum);
        for (index, count) in &part.bins {
            let bin = &mut self.all[usize::from(*index)];
            *bin = bin.saturating_add(*count);
        }
    }

    /// Puts `new` in the place of `old`, which was put here before. Nothing saturates then, as both
    /// are of an edge, which [`VALUE_MAX`] bounds; so what is taken away is what was added.
    pub(super) fn exchange(&mut self, old: &Distribution, new: &Distribution) {
        self.add(new);
        self.zeros -= old.zeros;
        self.sum -= old.sum;
        for (index, count) in &old.bins {
            self.all[usize::from(*index)] -= count;
        }
    }

    /// The union of everything put here; its least and greatest value cannot be kept as a sum.
    pub(super) fn distribution(&self, min: u64, max: u64) -> Distribution {
        let mut out = Distribution { zeros: self.zeros, bins: Vec::new(), sum: self.sum, min, max };
        for (index, count) in (0..=INDEX_MAX).zip(&self.all).rev().filter(|(_, count)| **count > 0) {
            if out.bins.len() < BINS_MAX {
                out.bins.push((index, *count));
            } else {
                let lowest = out.bins.last_mut().expect("it is full");
                lowest.1 = lowest.1.saturating_add(*count);
            }
        }
        out.bins.reverse();
        out
    }
}

fn log_gamma() -> f64 {
    ((1.0 + ACCURACY) / (1.0 - ACCURACY)).ln()
}

/// The bin of a value above zero. Only the edge that notes the value computes this, so a platform
/// whose logarithm rounds otherwise changes no fold.
fn index_of(value: u64) -> u16 {
    let index = ((value as f64).ln() / log_gamma()).ceil();
    (index as u16).min(INDEX_MAX)
}

#[cfg(test)]
mod tests;
