//! What people and their tools are told of a node: the only place that names a signal.
//!
//! Pure crates emit typed events and keep plain counters. [`story`] turns an event into a level, a kind
//! and a sentence; [`signals`] lists every metric there is, and [`exposition`] writes those of a node as
//! text for Prometheus. Names are `starling_<room>_<noun>[_<unit>][_total]`, and labels come from closed
//! sets: never a node, an agent, or what agents say.

pub mod exposition;
pub mod level;
pub mod reading;
pub mod signals;
pub mod story;

pub use level::Level;
pub use reading::Reading;
pub use story::Story;
