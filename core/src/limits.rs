//! Every bound of the protocol, named. A size is in bytes unless its name says otherwise.

use std::time::Duration;

/// A control frame's body.
pub const CONTROL_BYTES_MAX: usize = 64 * 1024;
/// A bundle with more than one entry: header, signature and sections.
pub const BUNDLE_BYTES_MAX: usize = 64 * 1024;
/// One entry's payload; above [`BUNDLE_BYTES_MAX`] it travels alone in its bundle.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// Any frame's body: the largest payload and what goes round it.
pub const FRAME_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + CONTROL_BYTES_MAX;
/// Entries in a bundle.
pub const BUNDLE_ENTRIES_MAX: usize = 256;
/// Sections in a bundle: at most one an entry.
pub const BUNDLE_SECTIONS_MAX: usize = 256;
/// A subject.
pub const SUBJECT_BYTES_MAX: usize = 256;
/// Nodes that a message may pass.
pub const HOPS_MAX: u8 = 16;
/// Bundles of one class that an origin may have unacknowledged, and the width of the receivers'
/// duplicate window: a receiver can call everything older a duplicate because of the former.
pub const WINDOW_BUNDLES: u64 = 4096;
/// Bytes that an origin keeps for sending again, over all classes.
pub const RETAINED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes admitted and not yet sealed at which publishers of an edge wait.
pub const OPEN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes queued toward one agent connection; half of it holds acknowledgements back, a quarter
/// releases them.
pub const DELIVERY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes queued toward one agent connection at which it is cut. Publishers stop at 1 MiB each once
/// acknowledgements are held back, so this many of them may feed one slow subscriber.
pub const DELIVERY_CUT_BYTES: usize = 64 * 1024 * 1024;
/// Bytes queued on one lane of a link before who feeds it waits.
pub const LANE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Unacknowledged bytes that a client keeps for one connection.
pub const CLIENT_UNACKNOWLEDGED_BYTES_MAX: usize = 1024 * 1024;
/// Agents that one connection may carry.
pub const AGENTS_PER_CONNECTION_MAX: usize = 65_536;
/// Claims in one attach frame.
pub const CLAIMS_PER_ATTACH_MAX: usize = 256;
/// Agents that one edge hosts.
pub const AGENTS_PER_EDGE_MAX: usize = 1_000_000;
/// Subscriptions that one connection may hold.
pub const SUBSCRIPTIONS_PER_CONNECTION_MAX: usize = 262_144;
/// Patterns that a node declares exactly; beyond it declares wider ones.
pub const DECLARED_PATTERNS_MAX: usize = 4096;
/// Tags of one agent.
pub const TAGS_PER_AGENT_MAX: usize = 16;
/// An agent's name, a tag or a state.
pub const LABEL_BYTES_MAX: usize = 64;
/// Homes of agents that an edge remembers.
pub const HOMES_CACHED_MAX: usize = 65_536;
/// Directed messages that wait at an edge for the home of their receiver.
pub const UNRESOLVED_MAX: usize = 65_536;
/// Bytes of these messages.
pub const UNRESOLVED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a directed message waits for its receiver's home.
pub const LOCATE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a sealing token takes to come back: an origin that does not keep its machine busy seals
/// 1,000 bundles a second.
pub const SEAL_INTERVAL: Duration = Duration::from_millis(1);
/// The same on a machine that cannot keep up.
pub const SEAL_INTERVAL_MAX: Duration = Duration::from_millis(250);
/// Seals that an origin may spend at once after it was quiet.
pub const SEALS_BURST: u64 = 100;
/// Connections of a node whose first frame was not read yet; more are refused.
pub const HANDSHAKES_MAX: usize = 6144;
/// Of these, those from one IPv4 address or one IPv6 /64; from so many in all on an address is to be proven.
pub const HANDSHAKES_OF_A_PLACE_MAX: usize = HANDSHAKES_MAX / 3 * 2;
/// How long a link may be silent before it is down.
pub const LINK_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a link says that it lives.
pub const LINK_KEEPALIVE: Duration = Duration::from_millis(500);
/// How long the oldest bundle that another region is owed may stay unacknowledged before another way there
/// is tried: longer than the end of a link takes to be noticed, and than a subscriber may take nothing.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// After so many ways that did not help the next are tried half as often: all pairs of two aggregators here
/// and two there.
pub const STALL_TRIES: u32 = 4;
/// The longest time between two of these tries.
pub const STALL_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// While a slow subscriber holds acknowledgements back, one of each origin and class leaves so often all
/// the same.
pub const HELD_MAX: Duration = Duration::from_secs(10);
/// How long a node of the own region may leave the oldest bundle that it is owed unacknowledged.
pub const WITHHELD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an edge may leave a declared interest unconfirmed. An aggregator of another region waits for
/// its edges and may take twice as long, one of the own region waits for those and may take three times.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client that hears from its edge rests before it asks whether the edge lives.
pub const ASK_REST: Duration = Duration::from_millis(200);
/// The same where an edge has so many clients that they would ask too often together.
pub const ASK_REST_MAX: Duration = Duration::from_secs(10);
/// How often in a second all clients of an edge may ask together, unless each rests for the longest.
pub const ASKS_PER_SECOND: u32 = 2_000;
/// Signature checks of bundles that a node spends a second, over all peers: a core at 30 microseconds
/// each. The fastest pipe between two nodes needs half of it (4 million entries a second, 256 a bundle);
/// who sends more is read more slowly.
pub const CHECKS_PER_SECOND: u64 = 32_000;
/// Of these, how many a second go to what one peer sealed itself and nobody here wants. More of it is
/// acknowledged unchecked: enough that who contradicts itself in it now and then is convicted, and a
/// fiftieth of a core at the most for a flooder.
pub const UNWANTED_CHECKS_PER_SECOND: u64 = 128;
/// Bytes of bundles that a node takes from one peer a second, [`FRAME_COST_BYTES`] a frame included: more
/// than a core can decrypt, so that it binds those alone who send what costs nothing but reading.
pub const PEER_BYTES_PER_SECOND: u64 = 1024 * 1024 * 1024;
/// What a frame counts beside its bytes, so that a flood of small ones or of copies is bounded too: a
/// quarter of a million a second, at a microsecond each.
pub const FRAME_COST_BYTES: u64 = 4096;
/// Headers of an origin's last bundles that are kept to convict it should it sign another one under the
/// same number, and their bytes. A mesh in one process has a set for each pair of nodes, so they are few.
pub const HEADERS_KEPT_MAX: usize = 32;
/// See [`HEADERS_KEPT_MAX`]; about twenty headers of scattered traffic, three of dense.
pub const HEADERS_KEPT_BYTES_MAX: usize = 4096;
/// Proofs of misbehaviour that a node keeps to tell newcomers.
pub const PROOFS_KEPT_MAX: usize = 256;
/// How often a summary leaves its node at the most.
pub const SUMMARY_INTERVAL: Duration = Duration::from_millis(100);
/// How often a node publishes a new view to its hot path at the most.
pub const VIEW_INTERVAL: Duration = Duration::from_millis(5);
/// Questions for peers that wait for the answers of others, at one node.
pub const PEERS_ASKED_MAX: usize = 256;
/// Peers in the answer to one such question.
pub const PEERS_LISTED_MAX: usize = 256;
/// How long one waits at the most.
pub const PEERS_WAIT: Duration = Duration::from_secs(2);
