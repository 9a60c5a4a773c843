//! An HTTP proxy between the agent and its API server, which a kubeconfig may name as `proxy-url`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of a proxy's answer.
const MAX_ANSWER: usize = 8 << 10;

/// Whom to ask for the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    pub host: String,
    pub port: u16,
    /// `USER:PASSWORD`, if the URL has them.
    user: Option<String>,
}

impl Proxy {
    /// # Errors
    /// In words: it is no proxy that the agent can speak to.
    pub fn new(url: &str) -> Result<Proxy, String> {
        let parsed: Uri = url.parse().map_err(|error| format!("proxy-url {url:?}: {error}"))?;
        let authority = parsed.authority().filter(|_| parsed.scheme_str() == Some("http"));
        let authority = authority.ok_or_else(|| format!("proxy-url {url:?}: the agent knows only http://HOST:PORT"))?;
        let user = authority.as_str().rsplit_once('@').map(|(user, _)| unescaped(user));
        Ok(Proxy { host: bare(authority.host()), port: authority.port_u16().unwrap_or(80), user })
    }

    /// Asks for the way to a server.
    ///
    /// # Errors
    /// In words: it is refused.
    pub async fn tunnel(&self, socket: &mut TcpStream, host: &str, port: u16) -> Result<(), String> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let user = self.user.as_ref().map(|user| format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(user)));
        let asked = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{}\r\n", user.unwrap_or_default());
        let lost = |error: std::io::Error| format!("the proxy went away: {error}");
        socket.write_all(asked.as_bytes()).await.map_err(lost)?;
        let mut answer = Vec::new();
        // Byte by byte: what comes after the head is the server's.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() == MAX_ANSWER {
                return Err("the proxy's answer has no end".into());
            }
            answer.push(socket.read_u8().await.map_err(lost)?);
        }
        let first = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
        match first.split(' ').nth(1) {
            Some("200") => Ok(()),
            _ => Err(format!("the proxy refuses: {first}")),
        }
    }
}

/// A host without the brackets of IPv6.
pub fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| more.get(..2)).flatten();
        let escaped = escaped.and_then(|two| std::str::from_utf8(two).ok()).and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &more[2..] } else { more };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn answered(answer: &'static str) -> (Result<(), String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let read = socket.read(&mut asked).await.unwrap();
            socket.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        let proxy = Proxy::new(&format!("http://ann:p%40w@127.0.0.1:{port}")).unwrap();
        let mut socket = TcpStream::connect((proxy.host.as_str(), proxy.port)).await.unwrap();
        let told = proxy.tunnel(&mut socket, "fd00::1", 6443).await;
        (told, heard.await.unwrap())
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_the_way_with_its_user() {
        let (told, asked) = answered("HTTP/1.1 200 Connection established\r\n\r\n").await;
        told.unwrap();
        assert!(asked.starts_with("CONNECT [fd00::1]:6443 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&STANDARD.encode("ann:p@w")), "{asked}");
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_quoted() {
        let (told, _) = answered("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        assert!(told.unwrap_err().contains("407"));
    }

    #[test]
    fn other_proxies_are_told_apart_at_once() {
        for url in ["socks5://127.0.0.1:1080", "https://proxy:443", "proxy:80", "http://"] {
            assert!(Proxy::new(url).is_err(), "{url}");
        }
    }
}
