//! Who comes to the gateway: a token of the hub, in one of the places where Clusternet's and Kubernetes' clients can put it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bus_schema::message::stream::BEARER_PROTOCOL;
use http::{HeaderMap, HeaderValue, header};

use crate::api::failure::Failure;
use crate::api::{ApiState, Identity};

/// Whom Clusternet's documents let in.
const ANONYMOUS: &str = "system:anonymous";

/// The caller that these headers prove.
///
/// # Errors
/// 401 with the line that works.
pub fn caller(state: &ApiState, headers: &HeaderMap) -> Result<Identity, Failure> {
    let found = Found::of(headers);
    let [token] = found.tokens.as_slice() else {
        return Err(unauthorized(if found.tokens.is_empty() { found.why() } else { "the request has several tokens" }));
    };
    state.authenticator().proved(state.store(), token)?.ok_or_else(|| unauthorized(EXPIRED))
}

const EXPIRED: &str = "the token is not one of this hub, was revoked or has expired";

#[derive(Default)]
struct Found {
    tokens: Vec<String>,
    /// Clusternet's documented form without a token.
    anonymous: bool,
}

impl Found {
    fn of(headers: &HeaderMap) -> Found {
        let mut found = Found::default();
        headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| value.to_str().ok()).for_each(|value| found.read(value));
        if found.tokens.is_empty() {
            found.tokens.extend(headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().find_map(subprotocol));
        }
        found
    }

    fn read(&mut self, value: &str) {
        let (scheme, text) = value.split_once(' ').unwrap_or((value, ""));
        let text = text.trim();
        if scheme.eq_ignore_ascii_case("bearer") && !text.is_empty() {
            self.tokens.push(text.to_owned());
        } else if scheme.eq_ignore_ascii_case("basic") {
            match password(text) {
                Some(token) => self.tokens.push(token),
                None => self.anonymous = true,
            }
        }
    }

    fn why(&self) -> &'static str {
        if self.anonymous { "nobody is let in as system:anonymous" } else { "no token of this hub in the request" }
    }
}

/// The password of `system:anonymous`, where kubeconfigs have room for a token beside that name.
fn password(text: &str) -> Option<String> {
    let decoded = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()?;
    let token = String::from_utf8(decoded).ok()?.strip_prefix(ANONYMOUS)?.strip_prefix(':')?.to_owned();
    (!token.is_empty()).then_some(token)
}

/// The token of a WebSocket of a browser, which can send no header of its own.
fn subprotocol(value: &HeaderValue) -> Option<String> {
    let encoded = value.to_str().ok()?.split(',').find_map(|protocol| protocol.trim().strip_prefix(BEARER_PROTOCOL))?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

fn unauthorized(why: &str) -> Failure {
    let message = format!(
        "Unauthorized: {why}: kubeconfig: write `token: TOKEN` in place of `username: system:anonymous`; \
         curl: -H 'Authorization: Bearer TOKEN'; `clusternet-hub user create NAME` makes a token"
    );
    Failure::new(401, "Unauthorized", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(values: &[(&str, &str)]) -> (Vec<String>, bool) {
        let headers = values.iter().map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())).collect();
        let found = Found::of(&headers);
        (found.tokens, found.anonymous)
    }

    #[test]
    fn a_token_is_found_where_clients_can_put_it() {
        let token = || vec!["a.b".to_owned()];
        let basic = format!("Basic {}", STANDARD.encode("system:anonymous:a.b"));
        let protocol = format!("v5.channel.k8s.io, {BEARER_PROTOCOL}{}", URL_SAFE_NO_PAD.encode("a.b"));
        assert_eq!(tokens(&[("authorization", "Bearer a.b")]), (token(), false));
        assert_eq!(tokens(&[("authorization", &basic)]), (token(), false));
        assert_eq!(tokens(&[("authorization", "Basic system:anonymous"), ("authorization", "bearer  a.b")]), (token(), true));
        assert_eq!(tokens(&[("sec-websocket-protocol", &protocol)]), (token(), false));
    }

    #[test]
    fn clusternets_anonymous_form_alone_is_nobody() {
        let kubectl = format!("Basic {}", STANDARD.encode("system:anonymous:"));
        for value in ["Basic system:anonymous", kubectl.as_str(), "Basic !"] {
            assert_eq!(tokens(&[("authorization", value)]), (vec![], true), "{value}");
        }
        assert_eq!(tokens(&[("authorization", "Bearer "), ("authorization", "Digest a")]), (vec![], false));
    }
}
