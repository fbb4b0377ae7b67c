//! Clusters of peers by round trip time.
//!
//! Peers in order of their smoothed round trip time fall apart where there is a gap: the next is more
//! than half as far again as the one before, and more than [`GAP_MIN`] behind it, below which it is
//! noise. Of too many gaps the widest by ratio stay. Such a cluster is a shell around this node rather
//! than a place; it tells own machine room, own continent and other ones apart, which is what the choice
//! of peers needs, and takes no more than a sort. Coordinates (Vivaldi) would tell more and move.

use std::time::Duration;

/// Clusters at the most.
pub const CLUSTERS_MAX: usize = 8;
/// A narrower gap divides nothing.
pub const GAP_MIN: Duration = Duration::from_millis(1);

/// Peers at about one distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The smoothed round trip time of its nearest peer.
    pub nearest: Duration,
    /// That of its farthest.
    pub farthest: Duration,
    /// How many peers it has.
    pub peers: usize,
}

/// The clusters of `sorted` round trip times, nearest first; nothing is left out.
pub(super) fn clusters(sorted: &[Duration]) -> Vec<Cluster> {
    let mut gaps: Vec<usize> = (1..sorted.len()).filter(|at| is_gap(sorted[at - 1], sorted[*at])).collect();
    if gaps.len() >= CLUSTERS_MAX {
        // Wider is before; of equally wide ones the nearer, as the sort is stable.
        gaps.sort_by(|one, other| compare_ratios(sorted, *other, *one));
        gaps.truncate(CLUSTERS_MAX - 1);
        gaps.sort_unstable();
    }
    let mut start = 0;
    let mut clusters = Vec::with_capacity(gaps.len() + 1);
    for end in gaps.into_iter().chain([sorted.len()]) {
        if let [nearest, .., farthest] | [nearest @ farthest] = &sorted[start..end] {
            clusters.push(Cluster { nearest: *nearest, farthest: *farthest, peers: end - start });
        }
        start = end;
    }
    clusters
}

fn is_gap(before: Duration, next: Duration) -> bool {
    let width = next.saturating_sub(before);
    width > GAP_MIN && width > before / 2
}

/// Compares the ratios across two gaps, without a division.
fn compare_ratios(sorted: &[Duration], one: usize, other: usize) -> std::cmp::Ordering {
    let left = sorted[one].as_nanos() * sorted[other - 1].as_nanos();
    let right = sorted[other].as_nanos() * sorted[one - 1].as_nanos();
    left.cmp(&right)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_millis(millis: &[u64]) -> Vec<(u64, u64, usize)> {
        let sorted: Vec<Duration> = millis.iter().map(|millis| Duration::from_millis(*millis)).collect();
        let shown = |cluster: &Cluster| {
            (cluster.nearest.as_millis() as u64, cluster.farthest.as_millis() as u64, cluster.peers)
        };
        clusters(&sorted).iter().map(shown).collect()
    }

    #[test]
    fn gaps_divide_and_noise_does_not() {
        assert_eq!(of_millis(&[]), []);
        assert_eq!(of_millis(&[5]), [(5, 5, 1)]);
        assert_eq!(of_millis(&[0, 1, 1, 2]), [(0, 2, 4)]);
        assert_eq!(of_millis(&[1, 2, 20, 25, 30, 80, 90]), [(1, 2, 2), (20, 30, 3), (80, 90, 2)]);
        // Exactly half as far again is no gap.
        assert_eq!(of_millis(&[20, 30]), [(20, 30, 2)]);
    }

    #[test]
    fn of_too_many_gaps_the_widest_stay() {
        let mut millis: Vec<u64> = (0..10).map(|power| 2u64 << power).collect();
        millis.push(40_000);
        let clusters = of_millis(&millis);
        assert_eq!(clusters.len(), CLUSTERS_MAX);
        assert_eq!(clusters.last(), Some(&(40_000, 40_000, 1)));
    }

    proptest! {
        #[test]
        fn clusters_cover_all_in_order(mut nanos in prop::collection::vec(0u64..60_000_000_000, 0..200)) {
            nanos.sort_unstable();
            let sorted: Vec<Duration> = nanos.into_iter().map(Duration::from_nanos).collect();
            let clusters = clusters(&sorted);
            prop_assert!(clusters.len() <= CLUSTERS_MAX);
            prop_assert_eq!(clusters.iter().map(|cluster| cluster.peers).sum::<usize>(), sorted.len());
            for pair in clusters.windows(2) {
                prop_assert!(pair[0].farthest < pair[1].nearest);
            }
        }
    }
}
