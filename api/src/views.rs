//! The shapes of answers. Each begins with a `schema` such as `starling.overview/1`: fields may be added
//! under the same number, never changed or taken away.

pub(crate) mod budget;
pub(crate) mod lists;
pub(crate) mod overview;

use std::collections::BTreeMap;

use starling_core::wire::request::Counter;

/// Numbers by name.
pub(crate) fn by_name(counters: &[Counter]) -> BTreeMap<&str, u64> {
    counters.iter().map(|counter| (counter.name.as_str(), counter.value)).collect()
}
