//! As whom a request is performed. Pure.
//!
//! The hub's users are impersonated with the agent's own credentials, under names that nothing else in the member has (`hub:...`).
//! A caller's own token or certificate goes to the API server as it is, and the agent's credentials stay out of it.

use bus_schema::message::stream::request_head::Identity;
use bus_schema::message::stream::{Header, RequestHead, User};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::refusal::Refusal;
use super::request::header_of;

/// How every user and group of the hub begins in a member.
pub const PREFIX: &str = "hub:";
/// How the names begin that Kubernetes gives rights of its own.
const RESERVED: &str = "system:";
/// Groups of one user, as many as a certificate could name.
const MAX_GROUPS: usize = 64;

/// Whose credentials open the connection; the headers that go with them are beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// The agent's own.
    Agent,
    /// None: the headers have the caller's token.
    Caller,
    /// The caller's certificate and key, PEM.
    Certificate { certificate: Vec<u8>, key: Vec<u8> },
}

/// Credentials, and headers that say as whom.
///
/// # Errors
/// The identity is not one that a hub may speak for.
pub fn credentials(head: &RequestHead) -> Result<(Credentials, HeaderMap), Refusal> {
    match &head.identity {
        None => Err(Refusal::malformed("the hub does not say who asks")),
        Some(Identity::User(user)) if head.impersonate.is_empty() => Ok((Credentials::Agent, impersonation(user)?)),
        Some(Identity::User(_)) => Err(Refusal::malformed("a user of the hub can't be somebody else")),
        Some(Identity::Token(token)) => {
            let mut headers = pass_through(&head.impersonate)?;
            headers.insert(header::AUTHORIZATION, bearer(token)?);
            Ok((Credentials::Caller, headers))
        }
        Some(Identity::Certificate(given)) => {
            let credentials = Credentials::Certificate { certificate: given.certificate.clone(), key: given.key.clone() };
            Ok((credentials, pass_through(&head.impersonate)?))
        }
    }
}

fn impersonation(user: &User) -> Result<HeaderMap, Refusal> {
    if user.groups.len() > MAX_GROUPS {
        return Err(Refusal::malformed(format!("user {:?} has more than {MAX_GROUPS} groups", user.name)));
    }
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("impersonate-user"), name("user", &user.name)?);
    for group in &user.groups {
        headers.append(HeaderName::from_static("impersonate-group"), name("group", group)?);
    }
    Ok(headers)
}

fn name(what: &str, name: &str) -> Result<HeaderValue, Refusal> {
    if name.starts_with(RESERVED) {
        return Err(Refusal::forbidden(format!(
            "the agent speaks for no {what} {name:?}: {RESERVED}* has rights of its own in every cluster"
        )));
    }
    if name.len() <= PREFIX.len() || !name.starts_with(PREFIX) {
        return Err(Refusal::forbidden(format!("the agent speaks for no {what} {name:?}: those of the hub are {PREFIX}NAME")));
    }
    if !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Refusal::malformed(format!("{what} {name:?} must be printable ASCII without blanks")));
    }
    HeaderValue::from_str(name).map_err(|_| Refusal::malformed(format!("{what} {name:?} is no name")))
}

/// What a caller with credentials of its own asks to be; the API server decides.
fn pass_through(given: &[Header]) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::new();
    for given in given {
        let (name, value) = header_of(given)?;
        let known = matches!(name.as_str(), "impersonate-user" | "impersonate-group" | "impersonate-uid");
        if !known && !name.as_str().starts_with("impersonate-extra-") {
            return Err(Refusal::malformed(format!("header {name} does not impersonate")));
        }
        headers.append(name, value);
    }
    Ok(headers)
}

fn bearer(token: &str) -> Result<HeaderValue, Refusal> {
    let plain = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = plain.then(|| HeaderValue::try_from(format!("Bearer {token}")).ok()).flatten();
    let mut value = value.ok_or_else(|| Refusal::malformed("the token has characters that no token has"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use bus_schema::message::stream::Certificate;

    use super::*;

    fn user(name: &str, groups: &[&str]) -> RequestHead {
        let user = User { name: name.into(), groups: groups.iter().map(ToString::to_string).collect() };
        RequestHead { identity: Some(Identity::User(user)), ..RequestHead::default() }
    }

    fn header(name: &str, value: &str) -> Header {
        Header { name: name.into(), value: value.into() }
    }

    fn code(head: &RequestHead) -> Option<u16> {
        credentials(head).err().map(|refusal| refusal.code.as_u16())
    }

    #[test]
    fn a_user_of_the_hub_is_impersonated_with_the_agents_credentials() {
        let (credentials, headers) = credentials(&user("hub:ann", &["hub:ops", "hub:dev"])).unwrap();
        assert_eq!((credentials, headers["impersonate-user"].to_str().unwrap()), (Credentials::Agent, "hub:ann"));
        assert_eq!(headers.get_all("impersonate-group").iter().collect::<Vec<_>>(), ["hub:ops", "hub:dev"]);
    }

    #[test]
    fn the_agent_speaks_for_nobody_but_users_and_groups_of_the_hub() {
        for name in ["system:admin", "system:masters", "admin", "", "hub:", "Hub:ann", " hub:ann"] {
            assert_eq!(code(&user(name, &[])), Some(403), "user {name:?}");
            assert_eq!(code(&user("hub:ann", &["hub:ops", name])), Some(403), "group {name:?}");
        }
        assert_eq!(code(&user("hub:a\r\nImpersonate-Group: system:masters", &[])), Some(400));
        assert_eq!(code(&user("hub:a b", &[])), Some(400));
        assert_eq!(code(&user("hub:ann", &["hub:g"; 65])), Some(400));
        assert_eq!(code(&RequestHead::default()), Some(400));
        let more = RequestHead { impersonate: vec![header("Impersonate-Group", "system:masters")], ..user("hub:ann", &[]) };
        assert_eq!(code(&more), Some(400));
    }

    #[test]
    fn a_callers_token_goes_without_the_agents_credentials_and_is_not_shown() {
        let token = |text: &str| RequestHead { identity: Some(Identity::Token(text.into())), ..RequestHead::default() };
        let (credentials, headers) = credentials(&token("abc")).unwrap();
        assert_eq!((credentials, headers["authorization"].to_str().unwrap()), (Credentials::Caller, "Bearer abc"));
        assert!(!format!("{headers:?}").contains("abc"));
        for odd in ["", "a b", "a\r\nb"] {
            assert_eq!(code(&token(odd)), Some(400));
        }
    }

    #[test]
    fn a_caller_may_ask_to_be_somebody_else_and_adds_no_other_header() {
        let as_somebody = |name: &str| RequestHead {
            identity: Some(Identity::Certificate(Certificate { certificate: b"c".into(), key: b"k".into() })),
            impersonate: vec![header(name, "system:masters")],
            ..RequestHead::default()
        };
        for name in ["Impersonate-User", "impersonate-group", "Impersonate-Uid", "Impersonate-Extra-Scopes"] {
            let (credentials, headers) = credentials(&as_somebody(name)).unwrap();
            assert!(matches!(credentials, Credentials::Certificate { .. }) && headers.len() == 1);
        }
        for name in ["authorization", "host", "impersonate-", "impersonate"] {
            assert_eq!(code(&as_somebody(name)), Some(400), "{name}");
        }
    }
}
