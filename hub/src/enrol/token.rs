//! The text of a join token: `ID.SECRET.CA`, all that a machine needs to find out whom it speaks to and to be let in.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use crate::tls::hex;

/// Letters of an id; no vowels, so no words, and nothing that looks alike.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A token that was just made.
pub struct Fresh {
    pub id: String,
    pub secret: String,
}

impl Fresh {
    /// Draws an id of 8 characters and a secret of 256 bits.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn draw() -> anyhow::Result<Fresh> {
        let (mut id, mut secret) = ([0_u8; 8], [0_u8; 32]);
        let random = SystemRandom::new();
        let drawn = random.fill(&mut id).and_then(|()| random.fill(&mut secret));
        drawn.map_err(|_| anyhow::anyhow!("the system has no randomness"))?;
        let id = id.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect();
        Ok(Fresh { id, secret: hex(&secret) })
    }

    /// What is given to the machine. `pin` is the hash of the CA's key.
    pub fn text(&self, pin: &str) -> String {
        format!("{}.{}.{pin}", self.id, self.secret)
    }
}

/// What is kept of a secret.
pub fn hashed(secret: &str) -> String {
    hex(digest(&SHA256, secret.as_bytes()).as_ref())
}

/// Whether a secret is the one that was hashed; the time it takes says nothing.
pub fn matches(secret: &str, hash: &str) -> bool {
    let found = hashed(secret);
    let differing = found.bytes().zip(hash.bytes()).fold(0, |differing, (one, other)| differing | (one ^ other));
    found.len() == hash.len() && std::hint::black_box(differing) == 0
}

/// Id and secret of `Authorization: Bearer ID.SECRET`.
pub fn bearer(headers: &http::HeaderMap) -> Option<(&str, &str)> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let (id, secret) = token.trim().split_once('.')?;
    let is_id = (1..=63).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (scheme.eq_ignore_ascii_case("bearer") && is_id).then_some((id, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_its_own_hash_only() {
        let (one, other) = (Fresh::draw().unwrap(), Fresh::draw().unwrap());
        assert!(matches(&one.secret, &hashed(&one.secret)) && !matches(&one.secret, &hashed(&other.secret)));
        assert!(!matches("", "") && !matches(&one.secret, ""));
        assert_eq!((one.id.len(), one.secret.len(), one.text("pin").matches('.').count()), (8, 64, 2));
    }

    #[test]
    fn only_a_bearer_with_an_id_is_read() {
        let read = |value: &str| {
            let headers = [(http::header::AUTHORIZATION, value.parse().unwrap())].into_iter().collect();
            bearer(&headers).map(|(id, secret)| (id.to_owned(), secret.to_owned()))
        };
        assert_eq!(read("Bearer abc2.secret"), Some(("abc2".into(), "secret".into())));
        for wrong in ["Bearer abc", "Basic abc.secret", "Bearer ../x.secret", "Bearer .secret", "abc.secret"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
