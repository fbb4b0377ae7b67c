//! What is measured, and by whom.

/// A program that does works, and the package whose version counts.
#[derive(Clone, Copy, Debug)]
pub struct System {
    /// What it is called on the command line, and `versus-` before it is its program and package.
    pub name: &'static str,
    /// The package whose version counts.
    pub package: &'static str,
}

const fn system(name: &'static str, package: &'static str) -> System {
    System { name, package }
}

const QUINN: System = system("quinn", "quinn");
const ZENOH: System = system("zenoh", "zenoh");
/// The one that needs a server that is no package of Rust.
pub const NATS: System = system("nats", "async-nats");
const IROH_GOSSIP: System = system("iroh-gossip", "iroh-gossip");
const GOSSIPSUB: System = system("gossipsub", "libp2p-gossipsub");
const CHITCHAT: System = system("chitchat", "chitchat");

/// What is compared: its name in the list, and where it is in Starling's report and in a rival's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name in the list of results.
    pub name: &'static str,
    /// Its path in the report of `starling bench`.
    pub ours: &'static str,
    /// Its path in the report of a rival.
    pub theirs: &'static str,
}

const fn figure(name: &'static str, ours: &'static str, theirs: &'static str) -> Figure {
    Figure { name, ours, theirs }
}

const RATE: Figure = figure("per_second", "/per_second", "/per_second");
const MEDIAN: Figure = figure("latency_us_p50", "/latency_us/p50", "/latency_us/p50");
const TAIL: Figure = figure("latency_us_p99", "/latency_us/p99", "/latency_us/p99");
const ALONE: Figure = figure("alone_us_p50", "/alone_us/p50", "/alone_us/p50");
const HANDSHAKES: Figure =
    figure("handshakes_per_second", "/memory/alone/handshakes_per_second", "/handshakes_per_second");
const BYTES: Figure = figure("bytes_per_connection", "/memory/bytes_per_connection", "/bytes_per_connection");

/// One way to do a work.
#[derive(Clone, Copy, Debug)]
pub struct Rival {
    /// The work's name.
    pub work: &'static str,
    /// What it is called in the table.
    pub label: &'static str,
    /// Whose program does it.
    pub system: System,
    /// What the program is told, before the seconds.
    pub words: &'static [&'static str],
    /// What is compared.
    pub figures: &'static [Figure],
    /// Whether it takes seconds and bytes.
    pub is_timed: bool,
    /// Whether it promises that no entry overtakes another.
    pub is_ordered: bool,
}

const fn rival(
    (work, label): (&'static str, &'static str),
    system: System,
    words: &'static [&'static str],
    figures: &'static [Figure],
) -> Rival {
    Rival { work, label, system, words, figures, is_timed: true, is_ordered: true }
}

const fn unordered(rival: Rival) -> Rival {
    Rival { is_ordered: false, ..rival }
}

/// All ways to do a work, those of one work in the order in which they take turns.
pub const RIVALS: &[Rival] = &[
    rival(("throughput", "raw quinn, buffered"), QUINN, &["throughput"], &[RATE]),
    rival(("throughput", "Zenoh, QUIC, direct"), ZENOH, &["throughput", "quic"], &[RATE]),
    rival(("throughput", "Zenoh, TCP, direct"), ZENOH, &["throughput", "tcp"], &[RATE]),
    rival(("routed", "Zenoh, QUIC, one router"), ZENOH, &["routed", "quic"], &[RATE]),
    rival(("routed", "Zenoh, TCP, one router"), ZENOH, &["routed", "tcp"], &[RATE]),
    rival(("routed-2", "Zenoh, QUIC, one router"), ZENOH, &["routed", "quic"], &[RATE]),
    rival(("routed-2", "Zenoh, TCP, one router"), ZENOH, &["routed", "tcp"], &[RATE]),
    unordered(rival(("region", "iroh-gossip, unsigned"), IROH_GOSSIP, &["region"], &[RATE, TAIL, ALONE])),
    unordered(rival(("region", "gossipsub, signed"), GOSSIPSUB, &["region"], &[RATE, TAIL, ALONE])),
    rival(("region", "chitchat, a key"), CHITCHAT, &["region"], &[ALONE]),
    rival(("fanout", "NATS, TCP"), NATS, &["fanout"], &[RATE]),
    rival(("latency", "raw quinn"), QUINN, &["latency"], &[MEDIAN]),
    rival(("latency", "Zenoh, QUIC, one router"), ZENOH, &["latency", "quic"], &[MEDIAN]),
    rival(("latency", "NATS, TCP"), NATS, &["latency"], &[MEDIAN]),
    Rival { is_timed: false, ..rival(("memory", "raw quinn"), QUINN, &["memory"], &[HANDSHAKES, BYTES]) },
];

/// A work on Starling.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Its name.
    pub name: &'static str,
    /// What `starling bench` is told.
    pub words: &'static [&'static str],
}

/// All works, in the order in which they are run.
pub const WORKS: [Work; 7] = [
    Work { name: "throughput", words: &["throughput"] },
    Work { name: "routed", words: &["routed"] },
    Work { name: "routed-2", words: &["routed", "--hops", "2"] },
    Work { name: "region", words: &["region", "--nodes", "50", "--window", "2048"] },
    Work { name: "fanout", words: &["fanout", "--agents", "1000"] },
    Work { name: "latency", words: &["latency"] },
    Work { name: "memory", words: &["memory"] },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rival_has_a_work_and_every_work_a_rival() {
        assert!(RIVALS.iter().all(|rival| WORKS.iter().any(|work| work.name == rival.work)));
        assert!(WORKS.iter().all(|work| RIVALS.iter().any(|rival| work.name == rival.work)));
        assert!(RIVALS.iter().all(|rival| !rival.figures.is_empty()));
    }
}
