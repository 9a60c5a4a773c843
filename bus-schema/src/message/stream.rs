//! Streams: one proxied request each, two ordered byte directions that outlive the link.
//!
//! Each direction begins with one length-prefixed head ([`RequestHead`] down, [`ResponseHead`] up), then come raw bytes: bodies without
//! any framing of HTTP, or whatever an upgraded connection carries. Heads are bytes of the stream, so they resume like everything else.

use prost::Message;
use prost::bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// Headers of one connection (RFC 9110, 7.6.1), in lower case, beside those that `Connection` names: no head carries them.
pub const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How the subprotocol of a WebSocket begins that is a bearer token to an API server: no head carries it.
pub const BEARER_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Opens a stream with its first bytes; repeated until anything is heard of the stream. An id is performed at most once.
#[derive(Clone, PartialEq, Message)]
pub struct StreamOpen {
    /// Rises within one incarnation of the hub.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// No id below it is opened again.
    #[prost(uint64, tag = "2")]
    pub floor: u64,
    /// How many bytes may come up before the first credit.
    #[prost(uint64, tag = "3")]
    pub limit: u64,
    /// Bytes from offset 0 on.
    #[prost(bytes = "bytes", tag = "4")]
    pub data: Bytes,
    /// Nothing follows `data`.
    #[prost(bool, tag = "5")]
    pub end: bool,
    /// The agent has answered so soon that it is nearby: what it sends needs no packing, either.
    #[prost(bool, tag = "6")]
    pub near: bool,
}

/// Bytes of one direction. Without any it asks for a credit.
#[derive(Clone, PartialEq, Message)]
pub struct StreamData {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub data: Bytes,
    /// Nothing follows `data`: the direction is half-closed.
    #[prost(bool, tag = "4")]
    pub end: bool,
    /// As [`Credit`], for the other direction.
    #[prost(uint64, tag = "5")]
    pub next: u64,
    #[prost(uint64, tag = "6")]
    pub limit: u64,
    /// `data` is a zstd frame without magic number that holds so many bytes; 0 when it is the bytes themselves.
    #[prost(uint32, tag = "7")]
    pub size: u32,
}

impl StreamData {
    const DATA: u32 = 3;

    /// Bytes of this piece encoded with `data` of so many bytes; its own is empty.
    pub fn encoded_len_with(&self, data: usize) -> usize {
        let field = if data == 0 { 0 } else { key_len(Self::DATA) + encoded_len_varint(data as u64) + data };
        self.encoded_len() + field
    }

    /// Encodes it with `data`, which lies in pieces; its own is empty.
    pub fn encode_with<'a>(&self, len: usize, data: impl Iterator<Item = &'a [u8]>, to: &mut Vec<u8>) {
        self.encode_raw(to);
        if len > 0 {
            encode_key(Self::DATA, WireType::LengthDelimited, to);
            encode_varint(len as u64, to);
            data.for_each(|piece| to.extend_from_slice(piece));
        }
    }
}

/// What has been received of several streams, and how much more may come.
#[derive(Clone, PartialEq, Message)]
pub struct StreamCredit {
    #[prost(message, repeated, tag = "1")]
    pub credits: Vec<Credit>,
}

/// What has been received of one direction.
#[derive(Clone, PartialEq, Message)]
pub struct Credit {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// All bytes below it are here; the end counts as one byte more.
    #[prost(uint64, tag = "2")]
    pub next: u64,
    /// Bytes below it may be sent.
    #[prost(uint64, tag = "3")]
    pub limit: u64,
    /// Something is missing, or a new session begins: everything from `next` on is to be sent (again).
    #[prost(bool, tag = "4")]
    pub again: bool,
}

/// The stream ends here, at once and in both directions. Repeated until it is echoed.
#[derive(Clone, PartialEq, Message)]
pub struct StreamReset {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(enumeration = "Code", tag = "2")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "3")]
    pub message: String,
    /// This is the echo.
    #[prost(bool, tag = "4")]
    pub echo: bool,
}

/// Why a stream ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Code {
    /// The peer could not go on.
    Failed = 0,
    /// Whoever asked does not want it any more.
    Cancelled = 1,
    /// The peer does not know the stream (any more).
    Gone = 2,
    /// The peer serves no more streams, or not this one.
    Refused = 3,
    /// The link did not come back within the grace period.
    Lost = 4,
    /// Hub or agent has started again: what the stream was about is not known any more.
    Restarted = 5,
    /// The peer broke the rules of streams.
    Protocol = 6,
}

/// One header of HTTP.
#[derive(Clone, PartialEq, Message)]
pub struct Header {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// What the agent is to ask on behalf of somebody. It carries credentials: no log shows it.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct RequestHead {
    #[prost(string, tag = "1")]
    pub method: String,
    #[prost(enumeration = "Target", tag = "2")]
    pub target: i32,
    /// `HOST[:PORT]`; empty for the API server.
    #[prost(string, tag = "3")]
    pub authority: String,
    /// Path and query as the client wrote them.
    #[prost(string, tag = "4")]
    pub path: String,
    /// End-to-end headers; never Host, Authorization or Impersonate-*.
    #[prost(message, repeated, tag = "5")]
    pub headers: Vec<Header>,
    /// The protocol that the client wants to go over to, empty for none.
    #[prost(string, tag = "6")]
    pub upgrade: String,
    /// `Impersonate-*` headers to add beside the caller's own credentials.
    #[prost(message, repeated, tag = "7")]
    pub impersonate: Vec<Header>,
    #[prost(oneof = "request_head::Identity", tags = "8, 9, 10")]
    pub identity: Option<request_head::Identity>,
}

/// Parts of a path below which an API server takes or gives Secrets and tokens.
const SECRET: [&str; 3] = ["secrets", "token", "tokenreviews"];

impl RequestHead {
    /// Whether what is asked and answered may be secret, as far as its path tells: then it is not packed (docs/security.md). A path that
    /// is written in another way than clients do counts as one.
    pub fn is_secret(&self) -> bool {
        let path = self.path.split('?').next().unwrap_or_default();
        path.contains('%') || path.split('/').any(|part| SECRET.contains(&part))
    }
}

impl std::fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RequestHead of a {}", self.method)
    }
}

pub mod request_head {
    /// In whose name the request is made.
    #[derive(Clone, PartialEq, prost::Oneof)]
    #[prost(skip_debug)]
    pub enum Identity {
        /// Somebody whom the hub knows: the agent impersonates them.
        #[prost(message, tag = "8")]
        User(super::User),
        /// The caller's own bearer token.
        #[prost(string, tag = "9")]
        Token(String),
        /// The caller's own certificate.
        #[prost(message, tag = "10")]
        Certificate(super::Certificate),
    }
}

impl std::fmt::Debug for request_head::Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            request_head::Identity::User(_) => "User",
            request_head::Identity::Token(_) => "Token",
            request_head::Identity::Certificate(_) => "Certificate",
        })
    }
}

/// Somebody whom the hub has authenticated.
#[derive(Clone, PartialEq, Message)]
pub struct User {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, repeated, tag = "2")]
    pub groups: Vec<String>,
}

/// A client certificate with its key, both PEM.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Certificate {
    #[prost(bytes = "vec", tag = "1")]
    pub certificate: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate")
    }
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Target {
    /// The member's API server.
    Direct = 0,
    Https = 1,
    Http = 2,
}

/// How the answer begins.
#[derive(Clone, PartialEq, Message)]
pub struct ResponseHead {
    #[prost(uint32, tag = "1")]
    pub status: u32,
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<Header>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_whether_it_is_about_secrets() {
        let is_secret = |path: &str| RequestHead { path: path.to_owned(), ..RequestHead::default() }.is_secret();
        let secret = [
            "/api/v1/secrets?limit=500",
            "/api/v1/namespaces/a/secrets/b",
            "/api/v1/watch/secrets",
            "/api/v1/namespaces/a/%73ecrets/b",
            "/api/v1/namespaces/a/serviceaccounts/b/token",
            "/apis/authentication.k8s.io/v1/tokenreviews",
        ];
        assert!(secret.iter().all(|path| is_secret(path)));
        assert!(!["/api/v1/pods?fieldSelector=a%3Db", "/api/v1/namespaces/my-secrets/pods/a/log", "/"].iter().any(|path| is_secret(path)));
    }

    #[test]
    fn a_piece_whose_bytes_lie_apart_is_read_as_any_other() {
        for data in ["", "a", "abcdefgh"] {
            let head = StreamData { id: 300, offset: 7, end: true, next: 5, limit: 1 << 40, ..StreamData::default() };
            let mut encoded = Vec::new();
            head.encode_with(data.len(), data.as_bytes().chunks(3), &mut encoded);
            assert_eq!(encoded.len(), head.encoded_len_with(data.len()));
            assert_eq!(StreamData::decode(&*encoded), Ok(StreamData { data: Bytes::from_static(data.as_bytes()), ..head }));
        }
    }
}
