//! As whom a member sees a request: as the hub's user, or with credentials of the member that the caller brings.
//!
//! What is brought passes through: it is in no log and on no disk, and a debug form does not show it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bus_schema::message::stream::request_head::Identity as Member;
use bus_schema::message::stream::{Certificate, Header, User};
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;

use crate::api::Identity;
use crate::api::failure::Failure;

/// Of users and groups that the hub vouches for.
const PREFIX: &str = "hub:";
/// Whom Clusternet's clients impersonate to bring credentials of the member.
const PASS: &str = "clusternet";
/// As client-go writes the keys of `as-user-extra`.
const EXTRA: &str = "impersonate-extra-";

/// As whom a request is done.
pub struct Acting {
    pub identity: Member,
    /// Whom the brought credentials impersonate on the member, as headers.
    pub impersonate: Vec<Header>,
}

impl Acting {
    /// Reads it from a request of `caller`.
    ///
    /// # Errors
    /// 403 for impersonation that the hub does not do, 400 for credentials that cannot be read.
    pub fn of(caller: &Identity, headers: &HeaderMap) -> Result<Acting, Failure> {
        let brought = Brought::read(headers)?;
        let mut users = headers.get_all("impersonate-user").iter();
        let passes = headers.contains_key("impersonate-user");
        if users.any(|user| user.as_bytes() != PASS.as_bytes()) || names_others(headers) {
            return Err(refused("the hub says who you are on the member"));
        }
        match passes {
            true => brought.acting(),
            false if brought.is_empty() => Ok(Acting { identity: Member::User(vouched(caller)), impersonate: Vec::new() }),
            false => Err(refused("credentials of a member come with the header 'Impersonate-User: clusternet'")),
        }
    }

    /// How it is done, for the audit log.
    pub fn how(&self) -> &'static str {
        match self.identity {
            Member::User(_) => "user",
            Member::Token(_) => "token",
            Member::Certificate(_) => "certificate",
        }
    }
}

/// The caller as members know it.
fn vouched(caller: &Identity) -> User {
    let groups = if caller.is_admin() { vec!["admins".to_owned()] } else { caller.groups.clone() };
    let own = groups.iter().filter(|group| !group.starts_with("system:"));
    User { name: format!("{PREFIX}{}", caller.user), groups: own.map(|group| format!("{PREFIX}{group}")).collect() }
}

#[derive(Default)]
struct Brought {
    token: Option<String>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    impersonate: Vec<Header>,
}

impl Brought {
    fn read(headers: &HeaderMap) -> Result<Brought, Failure> {
        let mut brought = Brought::default();
        for (name, value) in headers {
            let name = percent_decode_str(name.as_str()).decode_utf8_lossy().to_ascii_lowercase();
            match name.strip_prefix(EXTRA).unwrap_or(&name) {
                "clusternet-token" if name.starts_with(EXTRA) => once("Token", &mut brought.token, text("Token", value)?)?,
                "clusternet-certificate" if name.starts_with(EXTRA) => {
                    once("Certificate", &mut brought.certificate, pem("Certificate", value)?)?;
                }
                "clusternet-privatekey" if name.starts_with(EXTRA) => once("PrivateKey", &mut brought.key, pem("PrivateKey", value)?)?,
                other if other.starts_with("clusternet-impersonate-") => {
                    let name = other.trim_start_matches("clusternet-").to_owned();
                    brought.impersonate.push(Header { name, value: value.as_bytes().to_vec() });
                }
                _ => {}
            }
        }
        Ok(brought)
    }

    fn is_empty(&self) -> bool {
        self.token.is_none() && self.certificate.is_none() && self.key.is_none() && self.impersonate.is_empty()
    }

    fn acting(self) -> Result<Acting, Failure> {
        let identity = match (self.token, self.certificate, self.key) {
            (Some(token), None, None) => Member::Token(token),
            (None, Some(certificate), Some(key)) => Member::Certificate(Certificate { certificate, key }),
            _ => return Err(Failure::bad_request(BRING)),
        };
        Ok(Acting { identity, impersonate: self.impersonate })
    }
}

const BRING: &str = "'Impersonate-User: clusternet' comes with credentials of the member: either Impersonate-Extra-Clusternet-Token, \
                     or Impersonate-Extra-Clusternet-Certificate and Impersonate-Extra-Clusternet-PrivateKey";

/// Whether there is impersonation beside Clusternet's form.
fn names_others(headers: &HeaderMap) -> bool {
    headers.keys().map(|name| percent_decode_str(name.as_str()).decode_utf8_lossy().to_ascii_lowercase()).any(|name| {
        let is_clusternets = name == "impersonate-user" || name.starts_with("impersonate-extra-clusternet-");
        name.starts_with("impersonate-") && !is_clusternets
    })
}

fn refused(why: &str) -> Failure {
    let remedy =
        "leave the Impersonate headers (kubectl: --as, --as-group, --as-uid) out, or bring credentials of the member as Clusternet does";
    Failure::new(403, "Forbidden", format!("impersonation is forbidden: {why}: {remedy}"))
}

/// Of two, nobody could say which counts.
fn once<T>(what: &str, place: &mut Option<T>, value: T) -> Result<(), Failure> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Failure::bad_request(format!("Impersonate-Extra-Clusternet-{what} is there twice"))),
    }
}

fn text(what: &str, value: &HeaderValue) -> Result<String, Failure> {
    let text = value.to_str().ok().filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or_else(|| Failure::bad_request(format!("Impersonate-Extra-Clusternet-{what} is empty or no text")))
}

fn pem(what: &str, value: &HeaderValue) -> Result<Vec<u8>, Failure> {
    let decoded = STANDARD.decode(value.as_bytes()).ok().filter(|pem| pem.starts_with(b"-----BEGIN "));
    decoded.ok_or_else(|| Failure::bad_request(format!("Impersonate-Extra-Clusternet-{what} must be the base64 of PEM")))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    const CERTIFICATE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t";

    fn anna() -> Identity {
        Identity { user: "anna".into(), groups: vec!["dev".into(), "system:authenticated".into()] }
    }

    fn acting(pairs: &[(&str, &str)]) -> Result<Acting, u16> {
        let headers = pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect();
        Acting::of(&anna(), &headers).map_err(|failure| failure.code)
    }

    #[test]
    fn users_are_themselves_under_the_hubs_prefix_and_never_of_a_system_group() {
        let found = acting(&[("accept", "x")]).unwrap();
        assert_eq!(found.identity, Member::User(User { name: "hub:anna".into(), groups: vec!["hub:dev".into()] }));
        let admin = Acting::of(&Identity::admin("admin"), &HeaderMap::new()).unwrap();
        assert_eq!(admin.identity, Member::User(User { name: "hub:admin".into(), groups: vec!["hub:admins".into()] }));
    }

    #[test]
    fn credentials_of_the_member_pass_through_in_clusternets_form() {
        let user = ("Impersonate-User", "clusternet");
        let token = acting(&[user, ("Impersonate-Extra-Clusternet-Token", "abc")]).unwrap();
        assert_eq!((token.identity.clone(), token.how()), (Member::Token("abc".into()), "token"));
        let escaped = acting(&[user, ("impersonate-extra-clusternet%2dtoken", "abc")]).unwrap();
        assert_eq!(escaped.identity, token.identity);
        let both = [("impersonate-extra-clusternet-certificate", CERTIFICATE), ("impersonate-extra-clusternet-privatekey", CERTIFICATE)];
        let pem = b"-----BEGIN CERTIFICATE-----".to_vec();
        let found = acting(&[[user].as_slice(), &both].concat()).unwrap();
        assert_eq!(found.identity, Member::Certificate(Certificate { certificate: pem.clone(), key: pem }));
    }

    #[test]
    fn whom_the_credentials_impersonate_is_forwarded_in_both_spellings() {
        let token = [("impersonate-user", "clusternet"), ("impersonate-extra-clusternet-token", "abc")];
        for name in ["clusternet-impersonate-user", "impersonate-extra-clusternet-impersonate-user"] {
            let found = acting(&[token.as_slice(), &[(name, "bob")]].concat()).unwrap();
            assert_eq!(found.impersonate, [Header { name: "impersonate-user".into(), value: b"bob".to_vec() }]);
        }
    }

    #[test]
    fn every_other_impersonation_is_forbidden() {
        for pairs in [
            [("impersonate-user", "root")].as_slice(),
            &[("impersonate-group", "system:masters")],
            &[("impersonate-uid", "1")],
            &[("impersonate-extra-scopes", "all")],
            &[("impersonate-user", "clusternet"), ("impersonate-group", "x"), ("impersonate-extra-clusternet-token", "t")],
            &[("clusternet-impersonate-user", "root")],
            &[("impersonate-extra-clusternet-token", "t")],
            &[("impersonate-%67roup", "x")],
            &[("impersonate-user", "clusternet"), ("impersonate-user", "root"), ("impersonate-extra-clusternet-token", "t")],
        ] {
            assert_eq!(acting(pairs).map(drop), Err(403), "{pairs:?}");
        }
    }

    #[test]
    fn credentials_that_are_none_or_half_are_refused() {
        let user = ("impersonate-user", "clusternet");
        for pairs in [
            [user].as_slice(),
            &[user, ("clusternet-impersonate-user", "root")],
            &[user, ("impersonate-extra-clusternet-certificate", CERTIFICATE)],
            &[user, ("impersonate-extra-clusternet-certificate", "!")],
            &[user, ("impersonate-extra-clusternet-token", "")],
            &[user, ("impersonate-extra-clusternet-token", "t"), ("impersonate-extra-clusternet-token", "u")],
            &[user, ("impersonate-extra-clusternet-token", "t"), ("impersonate-extra-clusternet-privatekey", CERTIFICATE)],
        ] {
            assert_eq!(acting(pairs).map(drop), Err(400), "{pairs:?}");
        }
    }
}
