//! Who asks, and whether they may. Bearer tokens over the wire; in process an `Identity` travels as a request extension.

use http::{HeaderMap, header};
use k8s_openapi::jiff::Timestamp;
use ring::digest;

use super::catalogue::Resource;
use super::failure::{Failure, qualified};
use super::users::{self, AUTHENTICATED};
use crate::store::{Store, StoreError};

/// A caller whose identity is established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub user: String,
    pub groups: Vec<String>,
}

impl Identity {
    /// Someone who may do everything.
    pub fn admin(user: &str) -> Self {
        Self { user: user.into(), groups: vec![MASTERS.into(), AUTHENTICATED.into()] }
    }

    /// Whether this caller may do everything.
    pub fn is_admin(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }

    /// Refuses what this caller may not do.
    ///
    /// # Errors
    /// 403 naming user, verb and resource.
    pub fn authorize(&self, verb: &str, resource: &Resource) -> Result<(), Failure> {
        if self.may(verb, resource) {
            return Ok(());
        }
        let message = format!(
            "{} is forbidden: User {:?} cannot {verb} resource {:?} in API group {:?}: use the admin token for this",
            qualified(resource),
            self.user,
            resource.plural,
            resource.group
        );
        Err(Failure::new(403, "Forbidden", message))
    }

    /// Whether this caller may do `verb` on `resource`.
    pub fn may(&self, verb: &str, resource: &Resource) -> bool {
        let self_review = resource.plural.starts_with("selfsubject") && verb == "create";
        self.is_admin() || self_review
    }
}

const MASTERS: &str = "system:masters";

/// The bearer tokens that the API accepts: the administrator's, of which only the digest is kept, and those of Users in the store.
#[derive(Clone)]
pub struct Authenticator {
    admin: [u8; 32],
}

impl Authenticator {
    /// Accepts this token; an empty one is never accepted.
    pub fn new(admin_token: &str) -> Self {
        Self { admin: digested(admin_token) }
    }

    /// The caller that a token proves: the administrator, or a named user of the store.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn proved(&self, store: &Store, token: &str) -> Result<Option<Identity>, StoreError> {
        // Digests of equal length are compared, so timing says nothing about the token.
        if digested(token) == self.admin {
            return Ok(Some(Identity::admin(users::ADMIN)));
        }
        users::proved(store, token, Timestamp::now())
    }

    /// The caller that these request headers prove.
    ///
    /// # Errors
    /// 401 saying which header to send.
    pub fn identify(&self, store: &Store, headers: &HeaderMap) -> Result<Identity, Failure> {
        let token = bearer(headers).ok_or_else(|| unauthorized("no bearer token in the request"))?;
        self.proved(store, token)?.ok_or_else(|| unauthorized("the bearer token is not one of this hub"))
    }
}

/// The token of `Authorization: Bearer TOKEN`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

fn unauthorized(why: &str) -> Failure {
    let message = format!(
        "Unauthorized: {why}: send the header 'Authorization: Bearer TOKEN' with the hub's token \
         (kubectl: --kubeconfig admin.kubeconfig from the hub's data folder)"
    );
    Failure::new(401, "Unauthorized", message)
}

fn digested(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    bytes
}
