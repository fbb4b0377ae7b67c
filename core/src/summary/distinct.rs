//! How many different agents there were, in 3 KiB: HyperLogLog.
//!
//! Flajolet, Fusy, Gandouet and Meunier, "HyperLogLog: the analysis of a near-optimal cardinality
//! estimation algorithm" (2007), with 64-bit hashes and a sparse form as in Heule, Nunkesser and
//! Hall, "HyperLogLog in practice" (2013). We leave both in the estimator: they switch between
//! linear counting and a raw estimate that they correct by tables; we take the estimator of Ertl,
//! "New cardinality estimation algorithms for HyperLogLog sketches" (2017), section 3, which uses the
//! linear-counting information as it is, needs no table and has no bias at the switch.

use bytes::{BufMut, BytesMut};

use super::pack::{put_count, take_count};
use crate::id::AgentId;
use crate::wire::codec::{DecodeError, Reader, Wire};

const INDEX_BITS: u32 = 12;
/// Registers: the standard error is 1.04 / sqrt(4096), that is 1.6 %.
const REGISTERS: usize = 1 << INDEX_BITS;
/// The greatest rank: one more than the bits of a hash that do not choose the register.
const RANK_MAX: u8 = 64 - INDEX_BITS as u8 + 1;
/// Up to here the registers are listed; at four bytes each they then weigh as much as all of them.
const SPARSE_MAX: usize = 1_024;
/// Stands in the place of the number of listed registers when all of them follow.
const DENSE: u16 = u16::MAX;
/// All registers at six bits each.
const DENSE_BYTES: usize = REGISTERS * 6 / 8;

/// An estimate of the number of distinct 64-bit hashes seen; standard error 1.6 %.
///
/// Nothing can be taken away again: an agent that has left stays counted until the edge starts a new
/// sketch. Merging is the union: commutative, associative and idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distinct {
    registers: Registers,
}

/// Which form is used follows from the number of registers that are not zero, so equal contents are
/// equal values.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Registers {
    /// At most [`SPARSE_MAX`] registers that are not zero, ascending by index.
    Sparse(Vec<(u16, u8)>),
    Dense(Box<[u8; REGISTERS]>),
}

impl Default for Distinct {
    fn default() -> Distinct {
        Distinct { registers: Registers::Sparse(Vec::new()) }
    }
}

impl Distinct {
    /// The longest encoding, in bytes.
    pub const BYTES_MAX: usize = 2 + if DENSE_BYTES > SPARSE_MAX * 3 { DENSE_BYTES } else { SPARSE_MAX * 3 };

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        matches!(&self.registers, Registers::Sparse(listed) if listed.is_empty())
    }

    /// Notes an agent; whether the sketch changed. An agent's name is a hash already.
    pub fn insert_agent(&mut self, agent: AgentId) -> bool {
        let mut first = [0; 8];
        first.copy_from_slice(&agent.0[..8]);
        self.insert(u64::from_le_bytes(first))
    }

    /// Notes a uniformly distributed hash; whether the sketch changed.
    pub fn insert(&mut self, hash: u64) -> bool {
        let index = (hash >> (64 - INDEX_BITS)) as u16;
        // The bit set below the hash's own bits ends the run of zeros at the greatest rank.
        let rest = hash << INDEX_BITS | 1 << (INDEX_BITS - 1);
        self.raise(index, rest.leading_zeros() as u8 + 1)
    }

    fn raise(&mut self, index: u16, rank: u8) -> bool {
        match &mut self.registers {
            Registers::Dense(all) => {
                let held = &mut all[usize::from(index)];
                let is_higher = rank > *held;
                *held = rank.max(*held);
                is_higher
            }
            Registers::Sparse(listed) => {
                match listed.binary_search_by_key(&index, |(index, _)| *index) {
                    Ok(at) if listed[at].1 >= rank => return false,
                    Ok(at) => listed[at].1 = rank,
                    Err(at) => listed.insert(at, (index, rank)),
                }
                if listed.len() > SPARSE_MAX {
                    self.registers = Registers::Dense(spread(listed));
                }
                true
            }
        }
    }

    /// Adds all that `from` has seen.
    pub fn merge(&mut self, from: &Distinct) {
        match (&mut self.registers, &from.registers) {
            (Registers::Dense(all), Registers::Dense(other)) => raise_all(all, other),
            (Registers::Sparse(listed), Registers::Dense(other)) => {
                let mut all = spread(listed);
                raise_all(&mut all, other);
                self.registers = Registers::Dense(all);
            }
            (_, Registers::Sparse(listed)) => {
                for (index, rank) in listed {
                    self.raise(*index, *rank);
                }
            }
        }
    }

    /// Whether merging `other` into this would change nothing.
    pub fn covers(&self, other: &Distinct) -> bool {
        match (&self.registers, &other.registers) {
            (Registers::Dense(all), Registers::Dense(other)) => {
                all.iter().zip(other.iter()).all(|(mine, theirs)| mine >= theirs)
            }
            (Registers::Sparse(_), Registers::Dense(_)) => false,
            (Registers::Sparse(mine), Registers::Sparse(listed)) => {
                let mut mine = mine.iter();
                listed.iter().all(|(index, rank)| {
                    let at = mine.find(|(at, _)| at >= index);
                    at.is_some_and(|(at, held)| at == index && held >= rank)
                })
            }
            (Registers::Dense(_), Registers::Sparse(listed)) => {
                listed.iter().all(|(index, rank)| self.rank(*index) >= *rank)
            }
        }
    }

    fn rank(&self, index: u16) -> u8 {
        match &self.registers {
            Registers::Dense(all) => all[usize::from(index)],
            Registers::Sparse(listed) => {
                listed.binary_search_by_key(&index, |(index, _)| *index).map_or(0, |at| listed[at].1)
            }
        }
    }

    /// The estimated number of distinct hashes; standard error 1.6 %.
    pub fn estimate(&self) -> u64 {
        // How many registers there are of each rank.
        let mut ranks = [0_u32; RANK_MAX as usize + 1];
        match &self.registers {
            Registers::Dense(all) => all.iter().for_each(|rank| ranks[usize::from(*rank)] += 1),
            Registers::Sparse(listed) => {
                listed.iter().for_each(|(_, rank)| ranks[usize::from(*rank)] += 1);
                ranks[0] = (REGISTERS - listed.len()) as u32;
            }
        }
        let registers = REGISTERS as f64;
        let full = f64::from(ranks[usize::from(RANK_MAX)]);
        let mut sum = registers * tau(1.0 - full / registers);
        for count in ranks[1..usize::from(RANK_MAX)].iter().rev() {
            sum = 0.5 * (sum + f64::from(*count));
        }
        sum += registers * sigma(f64::from(ranks[0]) / registers);
        // An empty sketch has an infinite sum, hence zero; the conversion saturates.
        (registers * registers / (2.0 * std::f64::consts::LN_2 * sum)).round() as u64
    }
}

fn spread(listed: &[(u16, u8)]) -> Box<[u8; REGISTERS]> {
    let mut all = Box::new([0; REGISTERS]);
    for (index, rank) in listed {
        all[usize::from(*index)] = *rank;
    }
    all
}

fn raise_all(all: &mut [u8; REGISTERS], other: &[u8; REGISTERS]) {
    for (mine, theirs) in all.iter_mut().zip(other) {
        *mine = (*mine).max(*theirs);
    }
}

/// Ertl's correction for registers that are still zero: x + sum of x^(2^k) * 2^(k-1).
fn sigma(share: f64) -> f64 {
    if share >= 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut weight, mut sum) = (share, 1.0, share);
    loop {
        power *= power;
        let before = sum;
        sum += power * weight;
        weight += weight;
        if sum == before {
            return sum;
        }
    }
}

/// Ertl's correction for registers at the greatest rank.
fn tau(share: f64) -> f64 {
    if share <= 0.0 || share >= 1.0 {
        return 0.0;
    }
    let (mut root, mut weight, mut sum) = (share, 1.0, 1.0 - share);
    loop {
        root = root.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - root) * (1.0 - root) * weight;
        if sum == before {
            return sum / 3.0;
        }
    }
}

impl Wire for Distinct {
    /// Up to 1,024 registers as count, then index (2) and rank (1) each; more as 0xffff, then all
    /// registers at six bits, four of them in three bytes.
    fn encode(&self, out: &mut BytesMut) {
        match &self.registers {
            Registers::Sparse(listed) => {
                put_count(out, listed.len());
                for (index, rank) in listed {
                    out.put_u16_le(*index);
                    out.put_u8(*rank);
                }
            }
            Registers::Dense(all) => {
                out.put_u16_le(DENSE);
                for four in all.chunks_exact(4) {
                    let packed = four.iter().rev().fold(0, |packed, rank| packed << 6 | u32::from(*rank));
                    out.put_slice(&packed.to_le_bytes()[..3]);
                }
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Distinct, DecodeError> {
        let mut ahead = *reader;
        if ahead.u16()? == DENSE {
            *reader = ahead;
            return decode_dense(reader);
        }
        let mut listed: Vec<(u16, u8)> = Vec::new();
        for _ in 0..take_count(reader, SPARSE_MAX, "registers")? {
            let (index, rank) = (reader.u16()?, reader.u8()?);
            let is_after = listed.last().is_none_or(|(last, _)| *last < index);
            if !is_after || usize::from(index) >= REGISTERS || rank == 0 || rank > RANK_MAX {
                return Err(DecodeError::Invalid("register"));
            }
            listed.push((index, rank));
        }
        Ok(Distinct { registers: Registers::Sparse(listed) })
    }
}

fn decode_dense(reader: &mut Reader<'_>) -> Result<Distinct, DecodeError> {
    let bytes = reader.take(DENSE_BYTES)?;
    let mut all = Box::new([0; REGISTERS]);
    for (four, packed) in all.chunks_exact_mut(4).zip(bytes.chunks_exact(3)) {
        let packed = u32::from_le_bytes([packed[0], packed[1], packed[2], 0]);
        for (position, rank) in four.iter_mut().enumerate() {
            *rank = (packed >> (6 * position) & 0x3f) as u8;
        }
    }
    let set = all.iter().filter(|rank| **rank > 0).count();
    if set <= SPARSE_MAX || all.iter().any(|rank| *rank > RANK_MAX) {
        return Err(DecodeError::Invalid("registers"));
    }
    Ok(Distinct { registers: Registers::Dense(all) })
}

#[cfg(test)]
mod tests;
