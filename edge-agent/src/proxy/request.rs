//! Reading a request head that came over the bus. What the hub should have removed is looked for again: an agent does not
//! become a way around its API server because its hub was taken over. Pure.

use std::net::IpAddr;

use bus_schema::message::stream::{BEARER_PROTOCOL, HOP_BY_HOP, Header, RequestHead, Target};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{Method, StatusCode};

use super::refusal::Refusal;

/// What Clusternet's proxy serves.
const METHODS: [Method; 7] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
/// The protocols that are switched to; another one is not asked of the server, which HTTP allows.
const UPGRADES: [&str; 2] = ["websocket", "SPDY/3.1"];
/// Headers that say who asks: they come from the identity of the request and from nowhere else.
const IDENTITY: [&str; 3] = ["authorization", "host", "forwarded"];
const IDENTITY_PREFIXES: [&str; 3] = ["impersonate-", "x-remote-", "x-forwarded-"];

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The member's API server.
    Api,
    /// Something else that the member's network reaches.
    Other(Other),
}

/// A server beside the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    pub tls: bool,
    pub host: Host,
    pub port: u16,
    /// As it was asked for, which is what the server is told.
    pub authority: String,
}

/// An address, or a name in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Address(IpAddr),
    Name(String),
}

/// A request that may be looked at further.
#[derive(Debug, Clone)]
pub struct Checked {
    pub method: Method,
    pub place: Place,
    pub path: PathAndQuery,
    /// Without content-length, which follows from `length`.
    pub headers: HeaderMap,
    /// Bytes of the body, where they were announced.
    pub length: Option<u64>,
    pub upgrade: Option<HeaderValue>,
}

/// Reads a head.
///
/// # Errors
/// What is wrong with it.
pub fn check(head: &RequestHead) -> Result<Checked, Refusal> {
    let method = method(&head.method)?;
    let mut headers = headers(&head.headers)?;
    let length = take_length(&mut headers)?;
    // Answered by the hub, which has the client's connection.
    headers.remove(header::EXPECT);
    Ok(Checked { method, place: place(head)?, path: path(&head.path)?, headers, length, upgrade: upgrade(&head.upgrade) })
}

fn method(text: &str) -> Result<Method, Refusal> {
    let known = METHODS.into_iter().find(|method| method.as_str() == text);
    known.ok_or_else(|| Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("method {text:?} is not passed on to a cluster")))
}

fn path(text: &str) -> Result<PathAndQuery, Refusal> {
    let wrong = |why: &str| Refusal::malformed(format!("path {text:?}: {why}"));
    if !text.starts_with('/') {
        return Err(wrong("it must begin with /"));
    }
    // The parser would cut at #, and takes bytes that some servers take for the end of the line.
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        return Err(wrong(&format!("{odd:?} must be percent-encoded")));
    }
    text.parse().map_err(|_| wrong("it is no request path"))
}

fn headers(given: &[Header]) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::new();
    for given in given {
        let (name, value) = header_of(given)?;
        let text = name.as_str();
        if is_hop_by_hop(text) || IDENTITY.contains(&text) || IDENTITY_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            return Err(Refusal::malformed(format!("header {text} is not passed on to a cluster")));
        }
        if String::from_utf8_lossy(value.as_bytes()).contains(BEARER_PROTOCOL) {
            return Err(Refusal::malformed(format!("header {text}: a token in it is not passed on to a cluster")));
        }
        headers.append(name, value);
    }
    Ok(headers)
}

/// Reads one header.
///
/// # Errors
/// Its name or value could not be sent.
pub fn header_of(given: &Header) -> Result<(HeaderName, HeaderValue), Refusal> {
    let name = HeaderName::from_bytes(given.name.as_bytes());
    let name = name.map_err(|_| Refusal::malformed(format!("{:?} is no header name", given.name)))?;
    let value = HeaderValue::from_bytes(&given.value);
    // The value is not shown: it may be a secret.
    let value = value.map_err(|_| Refusal::malformed(format!("header {name}: its value has control characters")))?;
    Ok((name, value))
}

/// Whether a header belongs to one connection.
pub fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.contains(&name)
}

/// Whether servers that follow dot segments would leave the path's beginning.
pub fn has_dot_segments(path: &str) -> bool {
    let spelled = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/").replace('\\', "/");
    spelled.split('/').any(|segment| segment == "." || segment == "..")
}

fn take_length(headers: &mut HeaderMap) -> Result<Option<u64>, Refusal> {
    let found: Vec<HeaderValue> = headers.get_all(header::CONTENT_LENGTH).into_iter().cloned().collect();
    headers.remove(header::CONTENT_LENGTH);
    let number = |value: &HeaderValue| {
        let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
        text.parse().ok()
    };
    match found.as_slice() {
        [] => Ok(None),
        [one] => number(one).map(Some).ok_or_else(|| Refusal::malformed("content-length is no number of bytes")),
        _ => Err(Refusal::malformed("content-length stands more than once")),
    }
}

fn upgrade(text: &str) -> Option<HeaderValue> {
    let known = UPGRADES.iter().find(|known| known.eq_ignore_ascii_case(text))?;
    Some(HeaderValue::from_static(known))
}

fn place(head: &RequestHead) -> Result<Place, Refusal> {
    let target = Target::try_from(head.target)
        .map_err(|_| Refusal::malformed("the hub asks for a kind of target that this agent is too old for"))?;
    let tls = match target {
        Target::Direct if head.authority.is_empty() => return Ok(Place::Api),
        Target::Direct => return Err(Refusal::malformed("the API server has no other address")),
        Target::Https => true,
        Target::Http => false,
    };
    let wrong = || Refusal::malformed(format!("{:?} must be HOST or HOST:PORT", head.authority));
    let authority: Authority = head.authority.parse().map_err(|_| wrong())?;
    let default = if tls { 443 } else { 80 };
    // What follows the host: the parser takes any digits for a port.
    let rest = head.authority.strip_prefix(authority.host()).ok_or_else(wrong)?;
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port != 0),
        None => rest.is_empty().then_some(default),
    };
    let (host, port) = Host::parse(authority.host()).zip(port).ok_or_else(wrong)?;
    Ok(Place::Other(Other { tls, host, port, authority: head.authority.clone() }))
}

impl Host {
    /// Reads an address, in brackets or not, or a DNS name.
    pub fn parse(text: &str) -> Option<Host> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(address) = bare {
            return address.parse().ok().map(|address| Host::Address(IpAddr::V6(address)));
        }
        if let Ok(address) = text.parse() {
            return Some(Host::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let labels = name.split('.');
        let plain = |label: &str| {
            (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        // Resolvers take 1, 0x7f.1 or 2130706433 for addresses.
        let numeric = labels.clone().next_back().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_digit()));
        (name.len() <= 253 && labels.clone().all(plain) && !numeric).then_some(Host::Name(name))
    }
}

#[cfg(test)]
mod tests;
