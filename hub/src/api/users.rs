//! Named users: who a token `NAME.SECRET` proves. Read from the store at each request, so that a token that was just made works, and one
//! that was revoked no longer does.

use k8s_openapi::jiff::Timestamp;

use super::identity::Identity;
use crate::enrol::token::matches;
use crate::kinds::User;
use crate::store::{Key, Store, StoreError};

/// Where Users are kept.
const USERS: &str = "users.access.clusternet.io";
/// The holder of the admin token; nobody else may have that name.
pub const ADMIN: &str = "admin";
/// Of whoever has proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";

/// The user whom a token proves, if it does at `now`.
pub fn proved(store: &Store, token: &str, now: Timestamp) -> Result<Option<Identity>, StoreError> {
    let Some((name, secret)) = token.rsplit_once('.').filter(|(name, _)| is_name(name)) else { return Ok(None) };
    let key = Key { resource: USERS.into(), namespace: String::new(), name: name.to_owned() };
    let user = store.get(&key)?.and_then(|stored| serde_json::from_slice::<User>(&stored.body).ok());
    Ok(user.filter(|user| matches(secret, &user.spec.secret_hash) && now < user.spec.expires_at.0).map(|user| identity(name, user)))
}

/// Whether a user may be called so: as Kubernetes names objects, and not as somebody else.
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    name != ADMIN && name.len() <= 253 && name.bytes().all(allowed) && ends(name.bytes().next()) && ends(name.bytes().last())
}

/// No group that means something to the hub can come from a User.
fn identity(name: &str, user: User) -> Identity {
    let own = user.spec.groups.into_iter().filter(|group| !group.starts_with("system:"));
    Identity { user: name.to_owned(), groups: own.chain([AUTHENTICATED.to_owned()]).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_called_as_the_administrator_or_as_no_object_may_be() {
        assert!(is_name("anna") && is_name("ci.example.com") && is_name("a-1"));
        for wrong in ["", ADMIN, "Anna", ".a", "a.", "-a", "a:b", "a/b", "..", "a b"] {
            assert!(!is_name(wrong), "{wrong:?}");
        }
    }
}
