//! Real QUIC over loopback: who is let in, who is refused, and what a shaped link does.

// Helpers of tests are tests: a failure there is a failure of the test that called.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, EndpointConfig, Runtime, ServerConfig, TokioRuntime};
use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use starling_core::identity::{AttachTerms, Roles, SecretKey};
use starling_core::time::Time;
use starling_net::shaping::{Rule, Shaper, bind};
use starling_net::trust::*;

const HOUR: Duration = Duration::from_secs(3_600);
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn wall() -> Time {
    Time::ZERO + SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn request(roles: Roles) -> NodeRequest {
    NodeRequest::new(roles, "eu", "node-1", HOUR).unwrap()
}

fn node(authority: &Authority) -> NodeCredentials {
    authority.issue(&request(Roles::EDGE | Roles::AGGREGATOR), wall()).unwrap()
}

fn endpoint_on(runtime: Arc<dyn Runtime>, server: Option<ServerConfig>) -> Endpoint {
    let bound = bind(LOOPBACK, 1 << 20, 1 << 20).unwrap();
    Endpoint::new(EndpointConfig::default(), server, bound.socket, runtime).unwrap()
}

fn server(credentials: &NodeCredentials) -> Endpoint {
    install_crypto();
    let crypto = server_config(credentials, &credentials.trust).unwrap();
    endpoint_on(Arc::new(TokioRuntime), Some(ServerConfig::with_crypto(crypto)))
}

/// Both ends of a link, or the first refusal that either end saw. A client of TLS 1.3 believes
/// itself connected before the server has judged its certificate, so a link counts once a byte came
/// back.
async fn link(server: &Endpoint, client: &QuicClient) -> Result<(Connection, Connection), String> {
    let config = quinn::ClientConfig::new(client.crypto.clone());
    let address = server.local_addr().unwrap();
    let dialled = async {
        let connecting = client.endpoint.connect_with(config, address, SERVER_NAME);
        let connection = connecting.unwrap().await.map_err(|error| error.to_string())?;
        let mut greeting = connection.accept_uni().await.map_err(|error| error.to_string())?;
        assert_eq!(greeting.read_to_end(8).await.map_err(|error| error.to_string())?, b"hello");
        Ok::<Connection, String>(connection)
    };
    let accepted = async {
        let incoming = server.accept().await.unwrap();
        let connection = incoming.await.map_err(|error| error.to_string())?;
        let mut greeting = connection.open_uni().await.map_err(|error| error.to_string())?;
        greeting.write_all(b"hello").await.map_err(|error| error.to_string())?;
        greeting.finish().unwrap();
        Ok::<Connection, String>(connection)
    };
    let both = async { tokio::try_join!(accepted, dialled) };
    tokio::time::timeout(Duration::from_secs(10), both).await.expect("no verdict in ten seconds")
}

struct QuicClient {
    endpoint: Endpoint,
    crypto: Arc<QuicClientConfig>,
}

fn client(crypto: Arc<QuicClientConfig>) -> QuicClient {
    install_crypto();
    QuicClient { endpoint: endpoint_on(Arc::new(TokioRuntime), None), crypto }
}

fn node_client(credentials: &NodeCredentials, trust: &Trust) -> QuicClient {
    client(client_config(credentials, trust).unwrap())
}

async fn refusal(server: &Endpoint, client: &QuicClient) -> String {
    link(server, client).await.expect_err("the link should have been refused")
}

/// The same node with a certificate that `authority` issued, but with these URIs.
fn with_uris(authority: &Authority, mut node: NodeCredentials, uris: &[String]) -> NodeCredentials {
    let dir = tempfile::tempdir().unwrap();
    authority.save(dir.path()).unwrap();
    let ca_key = KeyPair::from_pem(&fs::read_to_string(dir.path().join("ca.key")).unwrap()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&authority.trust().ca_pem, ca_key).unwrap();
    let key = KeyPair::from_pem(&node.tls_key_pem).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI(uri.clone().try_into().unwrap())).collect();
    node.certificate_pem = params.signed_by(&key, &issuer).unwrap().pem();
    node
}

#[tokio::test]
async fn nodes_know_each_other_by_name_and_share_a_binding() {
    let authority = Authority::create("demo").unwrap();
    let (one, two) = (node(&authority), node(&authority));
    let dialler = node_client(&two, &two.trust);
    let listener = server(&one);
    let (at_one, at_two) = link(&listener, &dialler).await.unwrap();
    let seen_by_one = peer_name(&at_one).unwrap().unwrap();
    assert_eq!(seen_by_one.node, two.node());
    assert_eq!(seen_by_one.mesh.as_str(), "demo");
    assert_eq!(seen_by_one.region.as_str(), "eu");
    assert_eq!(seen_by_one.roles, Roles::EDGE | Roles::AGGREGATOR);
    assert_eq!(peer_name(&at_two).unwrap().unwrap().node, one.node());

    let binding = channel_binding(&at_one).unwrap();
    assert_eq!(binding, channel_binding(&at_two).unwrap());
    let (again, _other_end) = link(&listener, &dialler).await.unwrap();
    assert_ne!(binding, channel_binding(&again).unwrap());
}

#[tokio::test]
async fn agent_needs_no_certificate_and_attaches_to_this_connection_alone() {
    let authority = Authority::create("demo").unwrap();
    let edge = node(&authority);
    let listener = server(&edge);
    let dialler = client(agent_client_config(authority.trust()).unwrap());
    let (at_edge, at_agent) = link(&listener, &dialler).await.unwrap();
    assert_eq!(peer_name(&at_edge).unwrap(), None);
    let seen_by_agent = peer_name(&at_agent).unwrap().unwrap();
    assert_eq!(seen_by_agent.node, edge.node());

    let terms = |connection: &Connection| AttachTerms {
        edge: seen_by_agent.node,
        edge_incarnation: 1,
        binding: channel_binding(connection).unwrap(),
    };
    let claim = terms(&at_agent).sign(&SecretKey::from_seed([1; 32]), 1, 1);
    assert_eq!(terms(&at_edge).verify(&[claim]), [true]);
    let (elsewhere, _other_end) = link(&listener, &dialler).await.unwrap();
    assert_eq!(terms(&elsewhere).verify(&[claim]), [false]);
}

#[tokio::test]
async fn certificate_of_another_mesh_is_refused_on_either_side() {
    let (ours, theirs) = (Authority::create("demo").unwrap(), Authority::create("demo").unwrap());
    let (our_node, their_node) = (node(&ours), node(&theirs));
    let unknown = refusal(&server(&their_node), &node_client(&our_node, &our_node.trust)).await;
    assert!(unknown.contains("certificate"), "{unknown}");
    let presented = node_client(&their_node, &our_node.trust);
    let unknown = refusal(&server(&our_node), &presented).await;
    assert!(unknown.contains("certificate"), "{unknown}");
}

#[tokio::test]
async fn expired_certificate_is_refused_on_either_side() {
    let authority = Authority::create("demo").unwrap();
    let good = node(&authority);
    let old = authority.issue(&request(Roles::EDGE), wall() - HOUR * 2).unwrap();
    let verdict = refusal(&server(&old), &node_client(&good, &good.trust)).await;
    assert!(verdict.contains("expired"), "{verdict}");
    let verdict = refusal(&server(&good), &node_client(&old, &old.trust)).await;
    assert!(verdict.to_lowercase().contains("expired"), "{verdict}");
}

#[tokio::test]
async fn certificate_with_another_name_is_refused_on_either_side() {
    let authority = Authority::create("demo").unwrap();
    let good = node(&authority);
    let uri = |mesh: &str| format!("spiffe://{mesh}/role/edge/region/eu/node/{}", good.node());
    let accepted = with_uris(&authority, node(&authority), &[uri("demo")]);
    link(&server(&accepted), &node_client(&good, &good.trust)).await.unwrap();
    link(&server(&good), &node_client(&accepted, &good.trust)).await.unwrap();
    for uris in [
        vec![],
        vec![uri("other")],
        vec![uri("demo"), uri("demo")],
        vec!["https://demo/role/edge".to_owned()],
    ] {
        let odd = with_uris(&authority, node(&authority), &uris);
        refusal(&server(&odd), &node_client(&good, &good.trust)).await;
        refusal(&server(&good), &node_client(&odd, &good.trust)).await;
    }
}

#[test]
fn credentials_survive_their_files_and_must_belong_together() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    Authority::create("demo").unwrap().save(&root).unwrap();
    let authority = Authority::load(&root).unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    node(&authority).save(&one).unwrap();
    node(&authority).save(&two).unwrap();
    let loaded = NodeCredentials::load(&one).unwrap();
    let verify_key = loaded.trust.verify_key().unwrap();
    assert_eq!(loaded.admission.verify(&verify_key, wall()), Ok(()));
    assert_eq!(loaded.node(), loaded.admission.node());
    server_config(&loaded, authority.trust()).unwrap();

    for file in ["identity.key", "admission.bin", "node.pem", "node.key"] {
        let kept = fs::read(one.join(file)).unwrap();
        for damaged in [fs::read(two.join(file)).unwrap(), b"nonsense".to_vec(), Vec::new()] {
            fs::write(one.join(file), damaged).unwrap();
            let error = NodeCredentials::load(&one).unwrap_err().to_string();
            assert!(error.contains(one.to_str().unwrap()), "{file}: {error}");
        }
        fs::remove_file(one.join(file)).unwrap();
        let error = NodeCredentials::load(&one).unwrap_err().to_string();
        assert!(error.contains(one.join(file).to_str().unwrap()), "{error}");
        fs::write(one.join(file), kept).unwrap();
        fs::set_permissions(one.join(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    NodeCredentials::load(&one).unwrap();
}

#[test]
fn private_key_that_others_can_read_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    node(&Authority::create("demo").unwrap()).save(dir.path()).unwrap();
    for file in ["identity.key", "node.key"] {
        let path = dir.path().join(file);
        for mode in [0o640, 0o604] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = NodeCredentials::load(dir.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    NodeCredentials::load(dir.path()).unwrap();
}

#[test]
fn damaged_trust_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.trust");
    let trust = Authority::create("demo").unwrap().trust().clone();
    trust.save(&path).unwrap();
    assert_eq!(Trust::load(&path).unwrap(), trust);
    let text = fs::read_to_string(&path).unwrap();
    let other = Authority::create("demo").unwrap().trust().clone();
    for damaged in [
        text.replace("mesh-name: demo", "mesh-name: De mo"),
        text.replace(&trust.authority.to_string(), &other.authority.to_string()),
        text.replace(&trust.mesh.to_string(), &other.mesh.to_string()),
        text.replace("BEGIN", "BEGUN"),
        text.replace("mesh-id", "mash-id"),
    ] {
        fs::write(&path, damaged).unwrap();
        let error = Trust::load(&path).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
    assert!(Authority::create("No Name").is_err());
}

/// A link whose two ends stand under one shaper.
async fn shaped_link(shaper: &Shaper) -> (Endpoint, Endpoint, Connection, Connection) {
    install_crypto();
    let credentials = node(&Authority::create("demo").unwrap());
    let crypto = server_config(&credentials, &credentials.trust).unwrap();
    let listener = endpoint_on(shaper.runtime(), Some(ServerConfig::with_crypto(crypto)));
    let crypto = client_config(&credentials, &credentials.trust).unwrap();
    let dialler = QuicClient { endpoint: endpoint_on(shaper.runtime(), None), crypto };
    let (accepted, dialled) = link(&listener, &dialler).await.unwrap();
    (listener, dialler.endpoint, accepted, dialled)
}

async fn ping(one: &Connection, two: &Connection) -> Duration {
    let start = Instant::now();
    one.send_datagram(b"ping"[..].into()).unwrap();
    two.send_datagram(two.read_datagram().await.unwrap()).unwrap();
    assert_eq!(&one.read_datagram().await.unwrap()[..], b"ping");
    start.elapsed()
}

#[tokio::test]
async fn delay_holds_both_ways_until_it_is_lifted() {
    let shaper = Shaper::new(1);
    let (_listener, _dialler, one, two) = shaped_link(&shaper).await;
    assert_eq!(shaper.counts().delayed, 0);
    shaper.set_default(Rule { delay: Duration::from_millis(20), ..Rule::default() });
    let slow = ping(&one, &two).await;
    assert!(slow >= Duration::from_millis(40), "{slow:?}");
    assert!(shaper.counts().delayed >= 2);
    println!("round trip with 20 ms each way: {slow:?}");
    shaper.set(one.remote_address(), Rule::default());
    let one_way = ping(&one, &two).await;
    assert!(one_way >= Duration::from_millis(20), "{one_way:?}");
    shaper.set_default(Rule::default());
    let quick = (0..20).map(|_| ping(&one, &two));
    let mut best = slow;
    for attempt in quick {
        best = best.min(attempt.await);
    }
    assert!(best < Duration::from_millis(20), "{best:?}");
}

#[tokio::test]
async fn cut_link_gets_nothing_and_heals() {
    let shaper = Shaper::new(1);
    let (_listener, _dialler, one, two) = shaped_link(&shaper).await;
    shaper.set(one.remote_address(), Rule { cut: true, ..Rule::default() });
    one.send_datagram(b"into the void"[..].into()).unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(200), two.read_datagram()).await;
    assert!(waited.is_err());
    assert!(shaper.counts().lost >= 1);
    shaper.clear(one.remote_address());
    ping(&one, &two).await;
}

#[tokio::test]
async fn constant_delay_keeps_the_order_and_lossy_streams_arrive_whole() {
    let shaper = Shaper::new(7);
    let (_listener, _dialler, one, two) = shaped_link(&shaper).await;
    shaper.set_default(Rule { delay: Duration::from_millis(5), ..Rule::default() });
    for number in 0..100_u8 {
        one.send_datagram(vec![number].into()).unwrap();
    }
    for number in 0..100_u8 {
        assert_eq!(two.read_datagram().await.unwrap()[..], [number]);
    }
    let lossy = Rule { loss: 0.05, jitter: Duration::from_millis(2), ..Rule::default() };
    shaper.set_default(lossy);
    let sent: Vec<u8> = (0..1_000_000_u32).map(|index| index.to_le_bytes()[0]).collect();
    let mut stream = one.open_uni().await.unwrap();
    let (written, received) = tokio::join!(
        async {
            stream.write_all(&sent).await.unwrap();
            stream.finish()
        },
        async { two.accept_uni().await.unwrap().read_to_end(sent.len()).await.unwrap() }
    );
    written.unwrap();
    assert!(received == sent);
    let counts = shaper.counts();
    assert!(counts.lost > 0 && counts.overflowed == 0 && counts.failed == 0, "{counts:?}");
}

#[test]
fn taken_port_is_named() {
    let bound = bind(LOOPBACK, 1 << 16, 1 << 16).unwrap();
    assert!(bound.receive_buffer_bytes >= 1 << 16 && bound.send_buffer_bytes >= 1 << 16);
    let address = bound.socket.local_addr().unwrap();
    let error = bind(address, 1 << 16, 1 << 16).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
