//! Every metric there is.

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until the node starts again; its name in the text ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A metric, or one of several that differ in a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The number's name in a [`Reading`](crate::Reading).
    pub source: &'static str,
    /// The metric's name, without `_total`.
    pub name: &'static str,
    /// A label and its value, where others share the name.
    pub label: Option<(&'static str, &'static str)>,
    /// What kind of number it is.
    pub kind: Kind,
    /// What it says, in a sentence.
    pub help: &'static str,
}

impl Signal {
    const fn labelled(mut self, label: &'static str, value: &'static str) -> Signal {
        self.label = Some((label, value));
        self
    }
}

const fn counter(source: &'static str, name: &'static str, help: &'static str) -> Signal {
    Signal { source, name, label: None, kind: Kind::Counter, help }
}

const fn gauge(source: &'static str, name: &'static str, help: &'static str) -> Signal {
    Signal { source, name, label: None, kind: Kind::Gauge, help }
}

/// How long stages of the hot path take: a histogram with the label `stage`.
pub const STAGES: (&str, &str) = (
    "starling_core_stage_seconds",
    "Time of a stage of the hot path, of an entry; of converge, of a comparison. Within an eighth.",
);

/// All of them but [`STAGES`]; those that share a name stand together.
pub const SIGNALS: [Signal; 87] = [
    counter("published_entries", "starling_core_published_entries", "Entries admitted from own agents."),
    counter("sealed_bundles", "starling_core_sealed_bundles", "Bundles sealed."),
    counter("completed_bundles", "starling_core_completed_bundles", "Bundles that every destination has."),
    counter("resent_bundles", "starling_core_resent_bundles", "Bundles sent a second time."),
    counter("received_bundles", "starling_core_received_bundles", "Bundles received and accepted."),
    counter("received_entries", "starling_core_received_entries", "Entries in them that were present."),
    counter(
        "dense_entries",
        "starling_core_dense_entries",
        "Of these, those that came in bundles of 48 or more.",
    ),
    counter("overrun_entries", "starling_core_overrun_entries", "Of these, those that took more than 8."),
    counter(
        "received_bytes",
        "starling_core_received_bytes",
        "Payload bytes of those entries and their heads.",
    ),
    counter(
        "unwanted_bytes",
        "starling_core_unwanted_bytes",
        "Bytes of sections that came for nothing: no subscriber here.",
    ),
    counter(
        "duplicate_bundles",
        "starling_core_duplicate_bundles",
        "Copies of bundles that were here before.",
    ),
    counter(
        "duplicate_entries",
        "starling_core_duplicate_entries",
        "Entries that were delivered before through another origin.",
    ),
    counter(
        "unchecked_bundles",
        "starling_core_unchecked_bundles",
        "Bundles acknowledged unchecked: their origin brings much that nobody here wants.",
    ),
    counter(
        "invalid_bundles",
        "starling_core_invalid_bundles",
        "Bundles refused: signature, hash, structure or mesh.",
    ),
    counter(
        "unknown_origin_bundles",
        "starling_core_unknown_origin_bundles",
        "Bundles refused because their origin is not admitted.",
    ),
    counter(
        "stale_bundles",
        "starling_core_stale_bundles",
        "Bundles refused because the origin has restarted since.",
    ),
    counter("early_bundles", "starling_core_early_bundles", "Valid bundles whose clock is over 30 s ahead."),
    counter(
        "equivocations",
        "starling_core_equivocations",
        "Two valid headers under one sequence: proof of misbehaviour.",
    ),
    counter(
        "looped_bundles",
        "starling_core_looped_bundles",
        "Bundles dropped because they passed too many nodes or would leave a region twice.",
    ),
    counter(
        "foreign_bundles",
        "starling_core_foreign_bundles",
        "Bundles dropped because who brought them neither sealed them nor passes on what others sealed.",
    ),
    counter(
        "relayed_bundles",
        "starling_core_relayed_bundles",
        "Bundles passed on to another region or edge.",
    ),
    counter(
        "relayed_frames",
        "starling_core_relayed_frames",
        "Frames passed on between two nodes that have no link of their own.",
    ),
    counter(
        "stray_relayed_frames",
        "starling_core_stray_relayed_frames",
        "Frames of a relayed link that is no more.",
    ),
    counter(
        "unroutable_bundles",
        "starling_core_unroutable_bundles",
        "Bundles that found no link to their destination; their origin sends them again.",
    ),
    counter(
        "delivered_entries",
        "starling_core_delivered_entries",
        "Entries handed to subscribers' queues, once a subscriber.",
    ),
    counter("delivered_bytes", "starling_core_delivered_bytes", "Bytes handed to subscribers' queues."),
    counter("sent_bytes", "starling_core_sent_bytes", "Bytes of bundles handed to links' queues."),
    counter(
        "copied_bytes",
        "starling_core_copied_bytes",
        "Payload bytes copied on the way, other than by the transport.",
    ),
    counter(
        "cut_deliveries",
        "starling_core_cut_deliveries",
        "Deliveries that found their connection gone or cut.",
    ),
    counter("missing_agents", "starling_core_missing_agents", "Directed sections whose agent was not here."),
    counter("refused_frames", "starling_core_refused_frames", "Frames of agents that were refused."),
    counter(
        "held_links",
        "starling_core_held_links",
        "Times that a link was not read on at once, since it had used up its share of this node.",
    ),
    counter("held_link_micros", "starling_core_held_link_micros", "How long in all, in microseconds."),
    counter(
        "held_publishers",
        "starling_core_held_publishers",
        "Times that a connection of agents was not read on at once, since the way out or a lane was full, or the client beyond its window.",
    ),
    counter(
        "held_publisher_micros",
        "starling_core_held_publisher_micros",
        "How long in all, in microseconds.",
    ),
    counter(
        "dropped_state_bundles",
        "starling_core_dropped_state_bundles",
        "State bundles that the machine had no room for; a comparison brings them again.",
    ),
    gauge(
        "resident_bytes",
        "starling_process_resident_bytes",
        "Memory that the process has in RAM, in bytes; with all nodes that share it.",
    ),
    gauge("peers.known", "starling_core_peers_known", "Peers in the registry."),
    counter("peers.relayed", "starling_core_announcements_relayed", "Announcements of peers passed on."),
    counter("peers.duplicates", "starling_core_announcements_duplicate", "Announcements that were known."),
    counter(
        "peers.stale",
        "starling_core_announcements_stale",
        "Announcements that are older than what is known.",
    ),
    counter(
        "peers.refused",
        "starling_core_announcements_refused",
        "Announcements that are malformed or not signed as they must be.",
    ),
    counter(
        "peers.strangers",
        "starling_core_announcements_strange",
        "Announcements of nodes that are not admitted.",
    ),
    counter(
        "peers.distrusted",
        "starling_core_announcements_distrusted",
        "Announcements brought by peers whose word is not taken.",
    ),
    counter("peers.unasked", "starling_core_announcements_unasked", "Answers that nobody asked for."),
    gauge("convergence.peers", "starling_core_replicas", "Peers whose replica is compared with this one."),
    gauge("convergence.behind", "starling_core_replicas_behind", "Of these, those that lack versions."),
    gauge(
        "convergence.versions_max",
        "starling_core_replica_lag_versions",
        "Versions that the one farthest behind lacks.",
    ),
    gauge(
        "convergence.age_max_ms",
        "starling_core_replica_lag_milliseconds",
        "For how long a peer has lacked its first missing version, at most.",
    ),
    gauge(
        "mesh.agents",
        "starling_mesh_agents",
        "Agents in the figures that this node has: of the mesh at a coordinator, of its region elsewhere.",
    ),
    gauge("mesh.regions", "starling_mesh_regions", "Regions with a figure."),
    gauge("mesh.edges", "starling_mesh_edges", "Edges in those figures."),
    gauge("mesh.age_max_ms", "starling_mesh_figure_age_milliseconds", "Age of the oldest of those figures."),
    gauge("mesh.update_index", "starling_mesh_update_index", "Newest system update that is known here."),
    counter(
        "mesh.Published",
        "starling_mesh_published_entries",
        "Entries that agents published, by those figures.",
    ),
    counter(
        "mesh.Delivered",
        "starling_mesh_delivered_entries",
        "Entries handed to agents, by those figures.",
    ),
    counter(
        "mesh.Dropped",
        "starling_mesh_dropped_entries",
        "Entries dropped before an agent by a full queue or a deadline, by those figures.",
    ),
    counter(
        "mesh.BytesPublished",
        "starling_mesh_published_bytes",
        "Payload bytes that agents published, by those figures.",
    ),
    counter(
        "mesh.BytesDelivered",
        "starling_mesh_delivered_bytes",
        "Payload bytes handed to agents, by those figures.",
    ),
    gauge(
        "quorum.reachable",
        "starling_membership_reachable_nodes",
        "Nodes in reach that count, this one included.",
    ),
    gauge("quorum.roster", "starling_membership_roster_nodes", "Nodes that count, this one included."),
    gauge(
        "quorum.is_cut_off",
        "starling_membership_is_cut_off",
        "1 where this side reaches too few nodes to agree, else 0.",
    ),
    gauge("members.up", "starling_membership_nodes", "Nodes known, by status.").labelled("status", "up"),
    gauge("members.relayed", "starling_membership_nodes", "Nodes known, by status.")
        .labelled("status", "relayed"),
    gauge("members.suspect", "starling_membership_nodes", "Nodes known, by status.")
        .labelled("status", "suspect"),
    gauge("members.down", "starling_membership_nodes", "Nodes known, by status.").labelled("status", "down"),
    gauge("members.left", "starling_membership_nodes", "Nodes known, by status.").labelled("status", "left"),
    gauge("members.banned", "starling_membership_nodes", "Nodes known, by status.")
        .labelled("status", "banned"),
    gauge("members.known", "starling_membership_nodes", "Nodes known, by status.")
        .labelled("status", "known"),
    gauge("transport.links", "starling_net_links", "Open links to nodes."),
    gauge("transport.connections", "starling_net_agent_connections", "Open connections of agents."),
    gauge("transport.control_bytes", "starling_net_queued_bytes", "Bytes that wait to be written, by lane.")
        .labelled("lane", "control"),
    gauge("transport.priority_bytes", "starling_net_queued_bytes", "Bytes that wait to be written, by lane.")
        .labelled("lane", "priority"),
    gauge("transport.bulk_bytes", "starling_net_queued_bytes", "Bytes that wait to be written, by lane.")
        .labelled("lane", "bulk"),
    gauge("transport.agents_bytes", "starling_net_queued_bytes", "Bytes that wait to be written, by lane.")
        .labelled("lane", "agents"),
    gauge(
        "transport.sent_packets",
        "starling_net_link_sent_packets",
        "Packets that the open links have sent.",
    ),
    gauge("transport.lost_packets", "starling_net_link_lost_packets", "Of these, those that were lost."),
    gauge(
        "transport.rtt_median_us",
        "starling_net_link_rtt_median_microseconds",
        "Smoothed round trip of the link in the middle of all.",
    ),
    gauge(
        "transport.rtt_max_us",
        "starling_net_link_rtt_max_microseconds",
        "Smoothed round trip of the slowest link.",
    ),
    counter("api.requests", "starling_api_requests", "HTTP requests answered."),
    counter(
        "api.refused_requests",
        "starling_api_refused_requests",
        "HTTP requests refused: host, method, credential, size or path.",
    ),
    counter(
        "api.refused_connections",
        "starling_api_refused_connections",
        "HTTP connections refused because there were too many.",
    ),
    gauge("api.connections", "starling_api_connections", "Open HTTP connections."),
    gauge("api.streams", "starling_api_streams", "Clients of the event stream."),
    counter(
        "api.resyncs",
        "starling_api_stream_resyncs",
        "Times that a client of the event stream was too slow or away too long, and was told to load anew.",
    ),
    counter(
        "api.questions",
        "starling_api_questions",
        "Questions that HTTP requests put to the machine of this node or another.",
    ),
    counter(
        "api.unanswered",
        "starling_api_unanswered_questions",
        "Of these, those without an answer in time.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use starling_core::hot::counters::Counters;

    use super::*;

    #[test]
    fn whatever_the_hot_path_counts_has_a_name() {
        let sources: BTreeSet<&str> = SIGNALS.iter().map(|signal| signal.source).collect();
        assert_eq!(sources.len(), SIGNALS.len(), "two metrics of one number");
        for (counter, _) in Counters::default().list() {
            assert!(sources.contains(counter), "{counter} has no metric");
        }
    }

    #[test]
    fn every_metric_is_documented_as_it_is() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `starling_")).collect();
        let row_of = |name: &str| {
            let row = rows.iter().find(|row| row.starts_with(&format!("| `{name}` |")));
            *row.unwrap_or_else(|| panic!("docs/metrics.md does not have {name}"))
        };
        let mut names = BTreeSet::from([STAGES.0]);
        assert!(row_of(STAGES.0).ends_with(&format!("| {} |", STAGES.1)));
        for signal in &SIGNALS {
            names.insert(signal.name);
            let (row, kind) = (row_of(signal.name), format!("{:?}", signal.kind).to_lowercase());
            assert!(
                row.contains(&format!("| {kind} |")) && row.ends_with(&format!("| {} |", signal.help)),
                "{row}"
            );
            if let Some((label, value)) = signal.label {
                assert!(row.contains(&format!("`{label}`: ")) && row.contains(value), "{row}");
            }
        }
        assert_eq!(rows.len(), names.len(), "docs/metrics.md has rows of metrics that are none");
    }

    #[test]
    fn names_follow_the_rule_and_their_kind() {
        let mut seen = BTreeSet::new();
        let mut last = "";
        for signal in &SIGNALS {
            let words: Vec<&str> = signal.name.split('_').collect();
            assert!(words.len() >= 3 && words[0] == "starling", "{}", signal.name);
            let is_plain = signal.name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            assert!(is_plain && !signal.name.ends_with("_total"), "{}", signal.name);
            assert!(signal.help.ends_with('.') && !signal.help.contains('\n'), "{}", signal.help);
            assert!(signal.name == last || seen.insert(signal.name), "{} stands apart", signal.name);
            last = signal.name;
        }
    }
}
