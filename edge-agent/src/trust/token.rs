//! A join token, `ID.SECRET.CA`: the hub knows the first two parts; the third is the hash of the hub's CA, so the first connect is verified.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A token as it was given. It is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(...)")
    }
}

impl From<String> for Token {
    fn from(text: String) -> Token {
        Token(text.trim().to_owned())
    }
}

impl Token {
    /// What the hub is sent, and the hash of its CA's key.
    ///
    /// # Errors
    /// A sentence that says what a token looks like, and nothing of this one.
    pub fn parts(&self) -> Result<(&str, &str), String> {
        let wrong = || "the join token must be ID.SECRET.CA, as `clusternet-hub token create` prints it".to_owned();
        let (bearer, pin) = self.0.trim().rsplit_once('.').ok_or_else(wrong)?;
        let is_pin = pin.len() == 64 && pin.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
        let printable = bearer.bytes().all(|byte| byte.is_ascii_graphic());
        if is_pin && printable && bearer.contains('.') { Ok((bearer, pin)) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_three_parts_and_is_never_shown() {
        let pin = "a".repeat(64);
        let token = Token::from(format!(" id.secret.{pin}\n"));
        assert_eq!(token.parts(), Ok(("id.secret", pin.as_str())));
        assert!(!format!("{token:?}").contains("secret"));
        for wrong in ["", "id.secret", "id.secret.short", &format!("secret.{pin}"), &format!("id.se\ncret.{pin}")] {
            let why = Token::from(wrong.to_owned()).parts().unwrap_err();
            assert!(why.contains("token create") && !why.contains("secret."), "{why}");
        }
    }
}
