//! What the agent shows to its API server: read from files again and again, or asked of a plugin before it ends.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use tokio::sync::Mutex;

use super::kubeconfig::User;
use super::plugin::{Plugin, Printed};
use super::tls::Identity;

/// How often files are read again, as kubectl does; they are replaced before what they hold has ended.
const AGAIN: Duration = Duration::from_secs(60);
/// So long before its end a plugin's token is replaced.
const EARLY: Duration = Duration::from_secs(60);
/// How long a plugin's token is shown that names no end, unless the server refuses it.
const ENDLESS: Duration = Duration::from_secs(365 * 24 * 3600);

/// What is shown with a request.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// `Authorization`.
    pub authorization: Option<HeaderValue>,
    pub identity: Option<Identity>,
}

/// The keeper.
#[derive(Default)]
pub struct Credentials {
    user: User,
    plugin: Option<Plugin>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    shown: Shown,
    until: Until,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Until {
    /// It has to be read.
    #[default]
    Now,
    Then(Instant),
    /// It does not change.
    Always,
}

impl Credentials {
    /// Reads what is in the user and its files; a plugin is not run yet. Paths are absolute.
    ///
    /// # Errors
    /// In words: what can't be read or used.
    pub fn new(user: User, plugin: Option<Plugin>) -> Result<Credentials, String> {
        let shown = shown(&user)?;
        let until = match &plugin {
            Some(_) => Until::Now,
            None => after_reading(&user),
        };
        Ok(Credentials { user, plugin, held: Mutex::new(Held { shown, until }) })
    }

    /// A token in a file, as pods have it.
    ///
    /// # Errors
    /// In words: it can't be read.
    pub fn token_file(path: &Path) -> Result<Credentials, String> {
        Credentials::new(User { token_file: path.to_string_lossy().into_owned(), ..User::default() }, None)
    }

    /// What is good now.
    ///
    /// # Errors
    /// In words: the plugin has failed.
    pub async fn current(&self) -> Result<Shown, String> {
        let mut held = self.held.lock().await;
        let is_due = match held.until {
            Until::Now => true,
            Until::Then(end) => Instant::now() >= end,
            Until::Always => false,
        };
        if is_due {
            *held = self.renewed(&held.shown).await?;
        }
        Ok(held.shown.clone())
    }

    /// The server does not know what was shown: files are read and plugins asked before the next request.
    pub async fn refused(&self) {
        let mut held = self.held.lock().await;
        if held.until != Until::Always {
            held.until = Until::Now;
        }
    }

    async fn renewed(&self, last: &Shown) -> Result<Held, String> {
        let Some(plugin) = &self.plugin else {
            // Files that are gone, or half written, leave what they held.
            let shown = shown(&self.user).unwrap_or_else(|why| {
                tracing::warn!(why, "credentials can't be read again; those that were read before stay");
                last.clone()
            });
            return Ok(Held { shown, until: after_reading(&self.user) });
        };
        let printed = plugin.run().await?;
        let left = printed.good_for(SystemTime::now())?.map_or(ENDLESS, |left| left.saturating_sub(EARLY).min(ENDLESS));
        Ok(Held { shown: with_printed(shown(&self.user)?, &printed)?, until: Until::Then(Instant::now() + left) })
    }
}

fn after_reading(user: &User) -> Until {
    match [&user.token_file, &user.client_certificate, &user.client_key].iter().all(|path| path.is_empty()) {
        true => Until::Always,
        false => Until::Then(Instant::now() + AGAIN),
    }
}

fn with_printed(mut shown: Shown, printed: &Printed) -> Result<Shown, String> {
    if !printed.token.is_empty() {
        shown.authorization = Some(bearer(&printed.token)?);
    }
    if !printed.client_key_data.is_empty() {
        shown.identity = Some(identity(printed.client_certificate_data.as_bytes(), printed.client_key_data.as_bytes())?);
    }
    Ok(shown)
}

fn shown(user: &User) -> Result<Shown, String> {
    let certificate = given(&user.client_certificate_data, &user.client_certificate, "client-certificate")?;
    let key = given(&user.client_key_data, &user.client_key, "client-key")?;
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(identity(&certificate, &key)?),
        (None, None) => None,
        (Some(_), None) => return Err("client-certificate without client-key".into()),
        (None, Some(_)) => return Err("client-key without client-certificate".into()),
    };
    Ok(Shown { authorization: authorization(user)?, identity })
}

/// As kubectl has it: a file before a token, a token before a password.
fn authorization(user: &User) -> Result<Option<HeaderValue>, String> {
    if !user.token_file.is_empty() {
        let token = std::fs::read_to_string(&user.token_file).map_err(|error| format!("token file {}: {error}", user.token_file))?;
        return bearer(token.trim()).map(Some);
    }
    if !user.token.is_empty() {
        return bearer(&user.token).map(Some);
    }
    if user.username.is_empty() {
        return Ok(None);
    }
    let pair = STANDARD.encode(format!("{}:{}", user.username, user.password));
    secret(&format!("Basic {pair}"), "username and password").map(Some)
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    if token.is_empty() { Err("the token is empty".into()) } else { secret(&format!("Bearer {token}"), "the token") }
}

fn secret(text: &str, what: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|_| format!("{what} can't be sent in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn identity(certificate: &[u8], key: &[u8]) -> Result<Identity, String> {
    Identity::new(certificate, key).map_err(|error| format!("{error:#}"))
}

/// What is in the kubeconfig in base64, or else in the file that it names.
///
/// # Errors
/// In words: which of both can't be read.
pub fn given(data: &str, path: &str, what: &str) -> Result<Option<Vec<u8>>, String> {
    if !data.is_empty() {
        return STANDARD.decode(data).map(Some).map_err(|error| format!("{what}-data: {error}"));
    }
    if path.is_empty() {
        return Ok(None);
    }
    std::fs::read(path).map(Some).map_err(|error| format!("{what} {path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::kubeconfig::Exec;

    fn shows(shown: &Shown) -> &str {
        shown.authorization.as_ref().map_or("", |value| value.to_str().unwrap())
    }

    #[tokio::test]
    async fn a_token_file_is_read_again_when_the_server_refuses_and_stays_when_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "first\n").unwrap();
        let credentials = Credentials::token_file(&path).unwrap();
        std::fs::write(&path, "second\n").unwrap();
        assert_eq!(shows(&credentials.current().await.unwrap()), "Bearer first");
        credentials.refused().await;
        assert_eq!(shows(&credentials.current().await.unwrap()), "Bearer second");
        std::fs::remove_file(&path).unwrap();
        credentials.refused().await;
        assert_eq!(shows(&credentials.current().await.unwrap()), "Bearer second");
        assert!(Credentials::token_file(&path).is_err_and(|why| why.contains("token file")));
    }

    #[tokio::test]
    async fn a_plugin_is_asked_once_until_its_token_ends_or_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("count").display().to_string();
        let plugin = |end: &str| {
            let script =
                format!(r#"echo >>{count}; echo "{{status: {{token: t$(wc -l <{count} | tr -d ' '), expirationTimestamp: '{end}'}}}}""#);
            let exec = Exec { command: "sh".into(), args: vec!["-c".into(), script], ..Exec::default() };
            Credentials::new(User::default(), Some(Plugin::new(exec, serde_json::Value::Null).unwrap())).unwrap()
        };
        let long = plugin("2999-01-01T00:00:00Z");
        for _ in 0..2 {
            assert_eq!(shows(&long.current().await.unwrap()), "Bearer t1");
        }
        long.refused().await;
        assert_eq!(shows(&long.current().await.unwrap()), "Bearer t2");
        let ended = plugin("1999-01-01T00:00:00Z");
        assert_eq!(shows(&ended.current().await.unwrap()), "Bearer t3");
        assert_eq!(shows(&ended.current().await.unwrap()), "Bearer t4");
    }

    #[tokio::test]
    async fn a_password_goes_as_basic_and_a_token_before_it() {
        let mut user = User { username: "ann".into(), password: "p:w".into(), ..User::default() };
        let shown = |user: &User| Credentials::new(user.clone(), None).unwrap();
        assert_eq!(shows(&shown(&user).current().await.unwrap()), "Basic YW5uOnA6dw==");
        user.token = "t".into();
        assert_eq!(shows(&shown(&user).current().await.unwrap()), "Bearer t");
    }

    #[test]
    fn half_a_pair_and_what_is_no_certificate_are_told() {
        let user = User { client_certificate_data: STANDARD.encode("x"), ..User::default() };
        assert!(Credentials::new(user.clone(), None).is_err_and(|why| why.contains("without client-key")));
        let user = User { client_key_data: "!".into(), ..user };
        assert!(Credentials::new(user, None).is_err_and(|why| why.contains("client-key-data")));
    }
}
