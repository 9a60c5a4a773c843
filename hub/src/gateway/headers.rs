//! Which headers cross the gateway: those of the two ends, never those of one connection or of the hub.

use bus_schema::message::stream::{BEARER_PROTOCOL, HOP_BY_HOP, Header};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::api::failure::Failure;

/// Bytes of all names and values of a request; what the agent reads at once is not much larger.
pub const MAX_TOTAL: usize = 48 << 10;
/// Bytes of one name.
pub const MAX_NAME: usize = 256;
/// Headers of one request.
pub const MAX_HEADERS: usize = 100;

/// Between client and hub only.
const OF_THE_HUB: [&str; 5] = ["authorization", "expect", "forwarded", "host", "via"];

/// What would say who somebody is; only the hub says that.
const IDENTITY_PREFIXES: [&str; 4] = ["impersonate-", "x-remote-", "x-forwarded-", "clusternet-"];

/// Refuses an HTTP/1.1 request that does not name one host; proxies in between would choose another.
///
/// # Errors
/// 400.
pub fn one_host(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get_all(header::HOST).iter().count() {
        1 => Ok(()),
        found => Err(Failure::bad_request(format!("{found} Host headers: send one"))),
    }
}

/// The headers of a request that the member sees.
///
/// # Errors
/// 431 beyond the limits, 400 for two framings of one body, 417 for an expectation that nobody can meet.
pub fn of_request(headers: &HeaderMap) -> Result<Vec<Header>, Failure> {
    bounded(headers)?;
    framed_once(headers)?;
    let expected = headers.get(header::EXPECT).filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if expected.is_some() {
        return Err(Failure::new(417, "Expectation Failed", "the header Expect may be 100-continue and nothing else"));
    }
    let named = named_by_connection(headers);
    let crosses = |name: &HeaderName| {
        let name = name.as_str();
        let is_identity = IDENTITY_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        !is_identity && !OF_THE_HUB.contains(&name) && is_end_to_end(name, &named)
    };
    Ok(headers.iter().filter(|(name, _)| crosses(name)).filter_map(|(name, value)| carried(name, value)).collect())
}

/// The headers of an answer that the client sees; what is no header is left out.
pub fn of_response(headers: Vec<Header>) -> HeaderMap {
    let read = |header: Header| Some((HeaderName::from_bytes(header.name.as_bytes()).ok()?, HeaderValue::from_bytes(&header.value).ok()?));
    let all: Vec<(HeaderName, HeaderValue)> = headers.into_iter().filter_map(read).collect();
    let named: Vec<String> = all.iter().filter(|(name, _)| name == header::CONNECTION).flat_map(|(_, value)| tokens(value)).collect();
    let mut found = HeaderMap::with_capacity(all.len());
    for (name, value) in all.into_iter().filter(|(name, _)| is_end_to_end(name.as_str(), &named)) {
        found.append(name, value);
    }
    found
}

/// The protocol that an HTTP/1.1 request asks to go over to, of those that are carried.
pub fn upgrade(headers: &HeaderMap) -> Option<&'static str> {
    if !named_by_connection(headers).iter().any(|name| name == "upgrade") {
        return None;
    }
    let wanted: Vec<String> = headers.get_all(header::UPGRADE).iter().flat_map(tokens).collect();
    let carried = [(WEBSOCKET, "websocket"), (SPDY, "spdy/3.1")];
    carried.into_iter().find(|(_, token)| wanted.iter().any(|wanted| wanted == token)).map(|(name, _)| name)
}

/// Upgrade to a WebSocket.
pub const WEBSOCKET: &str = "websocket";
/// Upgrade to SPDY.
pub const SPDY: &str = "SPDY/3.1";

fn bounded(headers: &HeaderMap) -> Result<(), Failure> {
    let total: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let why = if total > MAX_TOTAL {
        format!("the headers have {total} bytes, and {MAX_TOTAL} cross at most")
    } else if headers.len() > MAX_HEADERS {
        format!("{} headers, and {MAX_HEADERS} cross at most", headers.len())
    } else if headers.keys().any(|name| name.as_str().len() > MAX_NAME) {
        format!("the name of a header has more than {MAX_NAME} bytes")
    } else {
        return Ok(());
    };
    Err(Failure::new(431, "RequestHeaderFieldsTooLarge", why))
}

/// One way to say where a body ends, or servers would disagree on it.
fn framed_once(headers: &HeaderMap) -> Result<(), Failure> {
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter().count();
    let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
    if lengths > 1 || (lengths == 1 && is_chunked) {
        return Err(Failure::bad_request("the end of the body is said twice: send Content-Length once, or Transfer-Encoding, not both"));
    }
    Ok(())
}

fn is_end_to_end(name: &str, named: &[String]) -> bool {
    !HOP_BY_HOP.contains(&name) && !named.iter().any(|hop| hop == name)
}

fn named_by_connection(headers: &HeaderMap) -> Vec<String> {
    headers.get_all(header::CONNECTION).iter().flat_map(tokens).collect()
}

fn tokens(value: &HeaderValue) -> Vec<String> {
    let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    text.split(',').map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()).collect()
}

fn carried(name: &HeaderName, value: &HeaderValue) -> Option<Header> {
    let value = if name == header::SEC_WEBSOCKET_PROTOCOL { without_bearer(value)? } else { value.as_bytes().to_vec() };
    Some(Header { name: name.as_str().to_owned(), value })
}

/// Subprotocols without the one that is a token of the hub; `None` when no other is there.
fn without_bearer(value: &HeaderValue) -> Option<Vec<u8>> {
    let Ok(text) = value.to_str() else { return Some(value.as_bytes().to_vec()) };
    if !text.contains(BEARER_PROTOCOL) {
        return Some(text.as_bytes().to_vec());
    }
    let rest: Vec<&str> = text.split(',').map(str::trim).filter(|protocol| !protocol.starts_with(BEARER_PROTOCOL)).collect();
    Some(rest.join(", ").into_bytes()).filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    fn crossing(pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, u16> {
        let text = |header: Header| (header.name, String::from_utf8(header.value).unwrap());
        of_request(&map(pairs)).map(|found| found.into_iter().map(text).collect()).map_err(|failure| failure.code)
    }

    #[test]
    fn nothing_of_the_connection_and_nothing_of_who_asks_crosses() {
        let kept = [("accept", "*/*"), ("content-length", "3"), ("user-agent", "kubectl"), ("sec-websocket-key", "x")];
        let gone = [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("proxy-authorization", "x"),
            ("authorization", "Bearer x"),
            ("host", "hub"),
            ("expect", "100-continue"),
            ("impersonate-user", "clusternet"),
            ("impersonate-extra-clusternet-token", "x"),
            ("x-remote-user", "root"),
            ("x-remote-extra-a", "root"),
            ("x-forwarded-for", "1.1.1.1"),
            ("clusternet-impersonate-user", "x"),
            ("forwarded", "for=1"),
        ];
        let found = crossing(&[kept.as_slice(), &gone].concat()).unwrap();
        assert_eq!(found, kept.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_token_in_a_subprotocol_stays_at_the_hub() {
        let offered = "base64url.bearer.authorization.k8s.io.YQ, v5.channel.k8s.io";
        assert_eq!(crossing(&[("sec-websocket-protocol", offered)]).unwrap()[0].1, "v5.channel.k8s.io");
        assert_eq!(crossing(&[("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.YQ")]), Ok(vec![]));
    }

    #[test]
    fn sizes_are_bounded_and_a_body_has_one_end() {
        assert_eq!(crossing(&[("a", &"x".repeat(MAX_TOTAL))]), Err(431));
        assert_eq!(crossing(&[(&"a".repeat(MAX_NAME + 1), "x")]), Err(431));
        let many: Vec<(String, &str)> = (0..=MAX_HEADERS).map(|number| (format!("a{number}"), "x")).collect();
        assert_eq!(crossing(&many.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>()), Err(431));
        assert_eq!(crossing(&[("content-length", "1"), ("transfer-encoding", "chunked")]), Err(400));
        assert_eq!(crossing(&[("content-length", "1"), ("content-length", "2")]), Err(400));
        assert_eq!(crossing(&[("expect", "miracles")]), Err(417));
    }

    #[test]
    fn only_upgrades_that_are_carried_and_asked_for_in_full_count() {
        let asked = |connection, protocol| upgrade(&map(&[("connection", connection), ("upgrade", protocol)]));
        assert_eq!(asked("keep-alive, Upgrade", "WebSocket"), Some(WEBSOCKET));
        assert_eq!(asked("upgrade", "spdy/3.1"), Some(SPDY));
        assert_eq!(asked("upgrade", "h2c"), None);
        assert_eq!(asked("close", "websocket"), None);
    }

    #[test]
    fn an_answer_keeps_what_is_between_the_two_ends() {
        let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
        let found = of_response(vec![
            header("Content-Type", "a"),
            header("Warning", "1"),
            header("warning", "2"),
            header("Transfer-Encoding", "chunked"),
            header("Connection", "close, x-hop"),
            header("X-Hop", "1"),
            header("bad name", "1"),
            header("bad-value", "a\r\nb"),
        ]);
        assert_eq!(found, map(&[("content-type", "a"), ("warning", "1"), ("warning", "2")]));
    }
}
