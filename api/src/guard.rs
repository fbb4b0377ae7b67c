//! What is checked before anything is answered, and what every answer carries.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State as Extract};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::counts::Counts;
use crate::state::State;

/// The longest path with its query, in bytes.
const ADDRESS_BYTES_MAX: usize = 2_048;

/// What every answer carries: nothing from elsewhere runs in our pages, and nobody frames them.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// Whether the asker has shown the credential, or none is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MayRead(pub bool);

/// Refuses what must not be answered, and adds the headers to what is.
pub(crate) async fn guard(Extract(state): Extract<Arc<State>>, mut request: Request, next: Next) -> Response {
    let may_read = is_known(state.settings.token.as_deref(), request.headers());
    let refusal = refusal(&state, &request).or_else(|| {
        // Whether a node lives and is ready is no secret: who watches it often can show no credential.
        let is_open = matches!(request.uri().path(), "/healthz" | "/readyz");
        (!may_read && !is_open)
            .then_some((StatusCode::UNAUTHORIZED, "show the credential of `http_token_file`"))
    });
    let mut response = match refusal {
        Some((status, text)) => {
            Counts::add(&state.counts.refused_requests);
            (status, format!("{text}\n")).into_response()
        }
        None => {
            Counts::add(&state.counts.requests);
            request.extensions_mut().insert(MayRead(may_read));
            next.run(request).await
        }
    };
    let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_unauthorized {
        let ask = HeaderValue::from_static("Basic realm=\"starling\", charset=\"UTF-8\"");
        headers.insert(header::WWW_AUTHENTICATE, ask);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn refusal(state: &State, request: &Request) -> Option<(StatusCode, &'static str)> {
    let headers = request.headers();
    if !is_host_ours(state.address, headers) {
        return Some((
            StatusCode::MISDIRECTED_REQUEST,
            "this node is not called so: use its address or localhost",
        ));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Some((
            StatusCode::METHOD_NOT_ALLOWED,
            "nothing can be changed here: only GET and HEAD are answered",
        ));
    }
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    if has_body {
        return Some((StatusCode::PAYLOAD_TOO_LARGE, "a request has no body here"));
    }
    let length = request.uri().path_and_query().map_or(0, |address| address.as_str().len());
    (length > ADDRESS_BYTES_MAX)
        .then_some((StatusCode::URI_TOO_LONG, "the address is longer than 2,048 bytes"))
}

/// A page of another site can make a browser resolve that site's name to this machine; but then it names
/// that site. So where only this machine can connect, only this machine's names are answered.
fn is_host_ours(address: SocketAddr, headers: &HeaderMap) -> bool {
    if !address.ip().is_loopback() {
        return true;
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    if let Ok(named) = host.parse::<SocketAddr>() {
        return named.ip().is_loopback();
    }
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && !name.contains(':') => name,
        Some(_) | None => host,
    };
    let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Whether the credential is shown, as `Bearer TOKEN`, or as the password of any name, which browsers
/// ask their user for.
fn is_known(token: Option<&str>, headers: &HeaderMap) -> bool {
    let Some(token) = token else { return true };
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, shown)) = shown.and_then(|shown| shown.split_once(' ')) else { return false };
    if scheme.eq_ignore_ascii_case("bearer") {
        return is_same(token.as_bytes(), shown.trim().as_bytes());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return false;
    }
    let Some(pair) = from_base64(shown.trim()) else { return false };
    let password = pair.iter().position(|byte| *byte == b':').map(|colon| &pair[colon + 1..]);
    password.is_some_and(|password| is_same(token.as_bytes(), password))
}

/// Compares without telling by its time where two differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for character in text.trim_end_matches('=').bytes() {
        let digit = DIGITS.iter().position(|digit| *digit == character)?;
        held = (held << 6) | u32::try_from(digit).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn names_of_this_machine_alone_are_answered_on_loopback() {
        let loopback: SocketAddr = "127.0.0.1:7400".parse().unwrap();
        let ours = ["127.0.0.1:7400", "localhost:7400", "LOCALHOST", "127.0.0.1", "[::1]:7400", "[::1]"];
        for host in ours {
            assert!(is_host_ours(loopback, &with(header::HOST, host)), "{host}");
        }
        let others =
            ["evil.example", "evil.example:7400", "127.0.0.1.evil.example", "localhost.evil.example:80", ""];
        for host in others {
            assert!(!is_host_ours(loopback, &with(header::HOST, host)), "{host}");
            assert!(is_host_ours("192.0.2.1:7400".parse().unwrap(), &with(header::HOST, host)));
        }
        assert!(!is_host_ours(loopback, &HeaderMap::new()));
    }

    #[test]
    fn a_credential_is_shown_as_bearer_or_as_a_password() {
        let shown = |value: &str| is_known(Some("s3cret"), &with(header::AUTHORIZATION, value));
        assert!(shown("Bearer s3cret") && shown("bearer s3cret"));
        // "anyone:s3cret" and ":s3cret".
        assert!(shown("Basic YW55b25lOnMzY3JldA==") && shown("basic OnMzY3JldA=="));
        for wrong in ["Bearer s3cre", "Bearer s3crets", "Bearer", "Basic s3cret", "Basic !", "Digest s3cret"]
        {
            assert!(!shown(wrong), "{wrong}");
        }
        assert!(!is_known(Some("s3cret"), &HeaderMap::new()) && is_known(None, &HeaderMap::new()));
    }
}
