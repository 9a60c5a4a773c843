//! From a request's path to a cluster and what is asked of it.
//!
//! The path of the member is a suffix of what the client sent, byte for byte: nothing is decoded, joined or cleaned, as kube-apiserver
//! itself does not. What would name something outside the cluster's own paths once somebody cleaned it is refused.

use bus_schema::message::stream::Target;
use percent_encoding::percent_decode_str;

use crate::api::failure::Failure;

/// Where Clusternet has its sockets.
pub const SOCKETS: &str = "/apis/proxies.clusternet.io/v1alpha1/sockets/";
/// The short form.
pub const CLUSTERS: &str = "/clusters/";

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub cluster: Wanted,
    pub target: Target,
    /// `HOST[:PORT]` beside the member's API server; empty for the API server itself.
    pub authority: String,
    /// As the client sent it; begins with a slash.
    pub path: String,
}

/// How a cluster is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The `clusterId` of a ManagedCluster.
    Id(String),
    /// A ManagedCluster's name, and its namespace where somebody wrote `NAMESPACE:NAME`.
    Name { namespace: Option<String>, name: String },
}

impl Route {
    /// Reads a path without its query.
    ///
    /// # Errors
    /// 400 for a path that is not well formed or leaves the cluster, 404 for one that names nothing.
    pub fn parse(path: &str) -> Result<Route, Failure> {
        well_formed(path)?;
        let route = match path.strip_prefix(CLUSTERS) {
            Some(rest) => Self::short(rest),
            None => Self::socket(path.strip_prefix(SOCKETS).ok_or_else(Failure::no_such_path)?),
        }?;
        if leaves(&route.path) {
            return Err(Failure::bad_request("the dot segments of this path leave the cluster it names: write the path that is meant"));
        }
        Ok(route)
    }

    fn short(rest: &str) -> Result<Route, Failure> {
        let (name, path) = cut(rest);
        Ok(Route { cluster: Wanted::named(&decoded(name)?)?, target: Target::Direct, authority: String::new(), path })
    }

    fn socket(rest: &str) -> Result<Route, Failure> {
        let (id, rest) = rest.split_once('/').ok_or_else(no_socket)?;
        let cluster = Wanted::Id(valid(decoded(id)?)?);
        let (scheme, path) = cut(rest.strip_prefix("proxy/").ok_or_else(no_socket)?);
        let target = match scheme {
            "direct" => return Ok(Route { cluster, target: Target::Direct, authority: String::new(), path }),
            "https" => Target::Https,
            "http" => Target::Http,
            _ => return Err(no_socket()),
        };
        let (host, path) = cut(path.strip_prefix('/').unwrap_or_default());
        Ok(Route { cluster, target, authority: authority(&decoded(host)?)?, path })
    }
}

impl Wanted {
    fn named(text: &str) -> Result<Wanted, Failure> {
        let (namespace, name) = match text.split_once(':') {
            Some((namespace, name)) => (Some(valid(namespace.to_owned())?), name),
            None => (None, text),
        };
        Ok(Wanted::Name { namespace, name: valid(name.to_owned())? })
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Wanted::Id(id) => write!(f, "id {id}"),
            Wanted::Name { namespace: Some(namespace), name } => write!(f, "{namespace}:{name}"),
            Wanted::Name { namespace: None, name } => f.write_str(name),
        }
    }
}

/// The first segment, and the path that begins behind it.
fn cut(rest: &str) -> (&str, String) {
    match rest.find('/') {
        Some(at) => (&rest[..at], rest[at..].to_owned()),
        None => (rest, "/".to_owned()),
    }
}

/// Visible ASCII, and every `%` begins an escape.
fn well_formed(path: &str) -> Result<(), Failure> {
    let escapes = path.split('%').skip(1).all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()));
    if escapes && path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Failure::bad_request("the path has a byte that must be percent-encoded, or a percent sign that begins no escape"))
}

fn decoded(segment: &str) -> Result<String, Failure> {
    let text = percent_decode_str(segment).decode_utf8().map_err(|_| Failure::bad_request("a name in the path is no UTF-8"))?;
    Ok(text.into_owned())
}

/// A name or id as Kubernetes allows them.
fn valid(text: String) -> Result<String, Failure> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    if (1..=253).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.') {
        return Ok(text);
    }
    Err(Failure::new(404, "NotFound", "the path names no cluster: write /clusters/NAME/... or /clusters/NAMESPACE:NAME/..."))
}

/// `HOST`, `HOST:PORT`, `[IPv6]` or `[IPv6]:PORT`; nothing with a user, a path or an escape in it.
fn authority(text: &str) -> Result<String, Failure> {
    let parsed: Option<http::uri::Authority> = text.parse().ok();
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']');
    let port = |authority: &http::uri::Authority| match text.strip_prefix(authority.host()) {
        Some("") => true,
        _ => authority.port_u16().is_some_and(|port| port > 0),
    };
    match parsed {
        Some(parsed) if text.bytes().all(is_host) && !parsed.host().is_empty() && port(&parsed) => Ok(text.to_owned()),
        _ => Err(Failure::bad_request("the path names no host: write .../proxy/https/HOST[:PORT]/... or .../proxy/http/HOST[:PORT]/...")),
    }
}

/// Whether a server that decodes and cleans this path would end above its first slash.
fn leaves(path: &str) -> bool {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    let mut depth = 0_i32;
    for segment in decoded.split(|byte| matches!(byte, b'/' | b'\\')) {
        match segment {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

fn no_socket() -> Failure {
    let forms = "/sockets/CLUSTER_ID/proxy/direct/..., .../proxy/https/HOST[:PORT]/... or .../proxy/http/HOST[:PORT]/...";
    Failure::new(404, "NotFound", format!("the server could not find the requested resource: write {forms}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "d2b7a8c4-1111-4222-8333-0123456789ab";

    fn read(path: &str) -> Result<(String, Target, String, String), u16> {
        let route = Route::parse(path).map_err(|failure| failure.code)?;
        Ok((route.cluster.to_string(), route.target, route.authority, route.path))
    }

    fn socket(rest: &str) -> Result<(String, Target, String, String), u16> {
        read(&format!("{SOCKETS}{ID}/{rest}"))
    }

    #[test]
    fn clusternets_paths_and_the_short_one_are_read() {
        let id = format!("id {ID}");
        let direct = |path: &str| Ok((id.clone(), Target::Direct, String::new(), path.to_owned()));
        assert_eq!(socket("proxy/direct"), direct("/"));
        assert_eq!(socket("proxy/direct/"), direct("/"));
        assert_eq!(socket("proxy/direct/api/v1/pods"), direct("/api/v1/pods"));
        let beside = |target, authority: &str, path: &str| Ok((id.clone(), target, authority.to_owned(), path.to_owned()));
        assert_eq!(socket("proxy/https/10.0.0.1:6443/version"), beside(Target::Https, "10.0.0.1:6443", "/version"));
        assert_eq!(socket("proxy/http/web.shop"), beside(Target::Http, "web.shop", "/"));
        assert_eq!(socket("proxy/http/%5Bfd00::1%5D:80/x"), beside(Target::Http, "[fd00::1]:80", "/x"));
        let short = |name: &str, path: &str| Ok((name.to_owned(), Target::Direct, String::new(), path.to_owned()));
        assert_eq!(read("/clusters/shop-1"), short("shop-1", "/"));
        assert_eq!(read("/clusters/ns:shop-1/version"), short("ns:shop-1", "/version"));
        assert_eq!(read("/clusters/ns%3Ashop-1/version"), short("ns:shop-1", "/version"));
    }

    #[test]
    fn the_members_path_is_kept_byte_for_byte() {
        for path in ["//api", "/api/../version", "/a%2Fb%2f..", "/api/v1/x/", "/a;b=c", "/%41%e4", "/api/%2e%2e/version", "/./a"] {
            assert_eq!(read(&format!("/clusters/a{path}")).map(|(.., found)| found), Ok(path.to_owned()), "{path}");
        }
    }

    #[test]
    fn what_would_leave_the_cluster_once_it_is_cleaned_is_refused() {
        let out = ["/..", "/../b/api", "/a/../../b", "/%2e%2e/b", "/.%2E/b", "/a/..%2f..%2fb", "/a%2f..%2f..", "//../b", "/a\\..\\..\\b"];
        for path in out {
            assert_eq!(read(&format!("/clusters/a{path}")), Err(400), "{path}");
            assert_eq!(socket(&format!("proxy/direct{path}")), Err(400), "{path}");
            assert_eq!(socket(&format!("proxy/https/h{path}")), Err(400), "{path}");
        }
    }

    #[test]
    fn what_is_not_well_formed_or_names_nothing_is_refused() {
        let cases = [
            ("/clusters/a/%zz", 400),
            ("/clusters/a/%4", 400),
            ("/clusters/a/\u{e4}", 400),
            ("/clusters//api", 404),
            ("/clusters/../api", 404),
            ("/clusters/%2e%2e/api", 404),
            ("/clusters/a%2Fb/api", 404),
            ("/clusters/a:/api", 404),
            ("/clusters/a:b:c/api", 404),
            ("/clusters/%ff/api", 400),
        ];
        for (path, code) in cases {
            assert_eq!(read(path).map(drop), Err(code), "{path}");
        }
        for rest in ["", "proxy", "proxy/", "proxy/ftp/h/x", "other/direct", "proxy/Direct/x"] {
            assert_eq!(socket(rest).map(drop), Err(404), "{rest}");
        }
        for host in ["", "a@b", "a%2Fb", "a:b", "a:0", "a:99999", "a%20b", ":80", "a%0d%0ab", "a:", "[::1"] {
            assert_eq!(socket(&format!("proxy/https/{host}/x")).map(drop), Err(400), "{host:?}");
        }
    }
}
