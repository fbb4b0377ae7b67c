use super::*;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn socket() -> UdpSocket {
    bind(LOOPBACK, 1 << 20, 1 << 20).unwrap().socket
}

fn transmit(destination: SocketAddr, contents: &[u8], segment_size: Option<usize>) -> Transmit<'_> {
    Transmit { destination, ecn: None, contents, segment_size, src_ip: None }
}

/// The first bytes of the datagrams that arrive at `receiver` within 100 ms of each other.
async fn received(receiver: &tokio::net::UdpSocket) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut datagram = [0; 64];
    let patience = Duration::from_millis(100);
    while let Ok(length) = tokio::time::timeout(patience, receiver.recv(&mut datagram)).await {
        all.push(datagram[..length.unwrap()].to_vec());
    }
    all
}

async fn survivors(seed: u64) -> Vec<Vec<u8>> {
    let shaper = Shaper::new(seed);
    shaper.set_default(Rule { loss: 0.5, ..Rule::default() });
    let sender = shaper.runtime().wrap_udp_socket(socket()).unwrap();
    let receiver = tokio::net::UdpSocket::from_std(socket()).unwrap();
    let address = receiver.local_addr().unwrap();
    for number in 0..100_u8 {
        sender.try_send(&transmit(address, &[number], None)).unwrap();
    }
    let arrived = received(&receiver).await;
    assert_eq!(shaper.counts().lost + arrived.len() as u64, 100);
    arrived
}

#[tokio::test]
async fn a_seed_decides_what_is_lost() {
    let first = survivors(1).await;
    assert!((20..80).contains(&first.len()), "{}", first.len());
    assert!(first.is_sorted());
    assert_eq!(survivors(1).await, first);
    assert_ne!(survivors(2).await, first);
}

#[tokio::test]
async fn segments_are_datagrams_of_their_own() {
    let shaper = Shaper::new(1);
    let sender = shaper.runtime().wrap_udp_socket(socket()).unwrap();
    let receiver = tokio::net::UdpSocket::from_std(socket()).unwrap();
    let address = receiver.local_addr().unwrap();
    shaper.set(address, Rule { delay: Duration::from_millis(1), ..Rule::default() });
    sender.try_send(&transmit(address, b"aaaabbbbcc", Some(4))).unwrap();
    assert_eq!(received(&receiver).await, [&b"aaaa"[..], b"bbbb", b"cc"]);
    assert_eq!(shaper.counts().delayed, 3);
}

#[tokio::test]
async fn queue_is_bounded_and_its_overflow_counted() {
    let shaper = Shaper::new(1);
    let sender = shaper.runtime().wrap_udp_socket(socket()).unwrap();
    shaper.set_default(Rule { delay: Duration::MAX, jitter: Duration::MAX, ..Rule::default() });
    let discard = SocketAddr::from(([127, 0, 0, 1], 9));
    for _ in 0..QUEUE_DATAGRAMS_MAX + 10 {
        sender.try_send(&transmit(discard, b"x", None)).unwrap();
    }
    let expected =
        ShapingCounts { delayed: QUEUE_DATAGRAMS_MAX as u64, overflowed: 10, ..Default::default() };
    assert_eq!(shaper.counts(), expected);
}

#[tokio::test]
async fn one_peer_has_one_rule_in_either_address_family() {
    let shaper = Shaper::new(1);
    shaper.set("[::ffff:10.0.0.1]:7".parse().unwrap(), Rule { cut: true, ..Rule::default() });
    assert!(shaper.rule_for("10.0.0.1:7".parse().unwrap()).cut);
    assert!(!shaper.rule_for("10.0.0.1:8".parse().unwrap()).cut);
    shaper.clear("10.0.0.1:7".parse().unwrap());
    assert!(!shaper.0.active.load(Ordering::Acquire));
}

#[tokio::test]
async fn server_of_the_queue_ends_with_its_socket() {
    let shaper = Shaper::new(1);
    let socket = shaper.runtime().wrap_udp_socket(socket()).unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    for _ in 0..100 {
        if bind(address, 1 << 16, 1 << 16).is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the port is still taken");
}

#[tokio::test]
async fn a_narrow_way_passes_what_it_can_and_drops_what_would_wait_for_long() {
    let shaper = Shaper::new(1);
    let sender = shaper.runtime().wrap_udp_socket(socket()).unwrap();
    let receiver = tokio::net::UdpSocket::from_std(socket()).unwrap();
    let address = receiver.local_addr().unwrap();
    // A datagram takes 10 ms: 25 wait no longer than they may, and one more that came in time.
    shaper.set(address, Rule { bits_per_second: 80_000, ..Rule::default() });
    let begun = Instant::now();
    for number in 0..40_u8 {
        sender.try_send(&transmit(address, &[number; 100], None)).unwrap();
    }
    let arrived = received(&receiver).await;
    assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
    assert!((26..=30).contains(&arrived.len()), "{}", arrived.len());
    assert!(arrived.is_sorted());
    assert_eq!(shaper.counts().overflowed + arrived.len() as u64, 40);
}
