//! What the agent never does for the hub, whoever asks: a list of the member's own, which the hub can't change. Pure.
//!
//! Paths are compared as servers read them: decoded, without empty segments, with dot segments followed and with dot segments taken
//! for names. So no spelling gets around a rule.

use super::request::Checked;

/// One rule; it denies what fulfils all its conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deny {
    text: String,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    User(String),
    Group(String),
    Method(String),
    /// `*` stands for any text.
    Path(String),
}

impl std::str::FromStr for Deny {
    type Err = String;

    fn from_str(text: &str) -> Result<Deny, String> {
        let wrong =
            || format!("{text:?} must be conditions joined by commas, as group=hub:interns,method=DELETE,path=/api/v1/namespaces/*");
        let conditions = text.split(',').map(Condition::read).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
        Ok(Deny { text: text.to_owned(), conditions })
    }
}

impl Condition {
    fn read(text: &str) -> Option<Condition> {
        let (key, value) = text.split_once('=').filter(|(_, value)| !value.is_empty())?;
        let value = value.to_owned();
        match key.trim() {
            "user" => Some(Condition::User(value)),
            "group" => Some(Condition::Group(value)),
            "method" => Some(Condition::Method(value.to_ascii_uppercase())),
            "path" if value.starts_with(['/', '*']) => Some(Condition::Path(value)),
            _ => None,
        }
    }
}

/// Who asks, as far as the agent knows: nobody, where the caller has credentials of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asker<'a> {
    pub user: &'a str,
    pub groups: &'a [String],
}

/// The rule that denies a request, in its own words.
pub fn denied<'a>(rules: &'a [Deny], asker: Asker<'_>, request: &Checked) -> Option<&'a str> {
    let readings = [true, false].map(|dots| as_read(request.path.path(), dots));
    let holds = |condition: &Condition| match condition {
        Condition::User(user) => asker.user == user,
        Condition::Group(group) => asker.groups.contains(group),
        Condition::Method(method) => request.method.as_str() == method,
        Condition::Path(pattern) => readings.iter().any(|path| matches(pattern.as_bytes(), path)),
    };
    rules.iter().find(|rule| rule.conditions.iter().all(holds)).map(|rule| rule.text.as_str())
}

/// Percent-decoded, without empty segments and without a slash at the end; `dots`: dot segments are followed.
fn as_read(path: &str, dots: bool) -> Vec<u8> {
    let decoded = decode(path.as_bytes());
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in decoded.split(|byte| *byte == b'/') {
        match segment {
            b"" => {}
            b"." if dots => {}
            b".." if dots => drop(segments.pop()),
            plain => segments.push(plain),
        }
    }
    let mut read = vec![b'/'];
    read.extend(segments.join(&b'/'));
    read
}

fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high << 4 | low);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}

/// Whether a text is what the pattern says; in time that grows with both lengths only.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read, mut star) = (0, 0, None);
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(byte) if *byte == text[read] => (at, read) = (at + 1, read + 1),
            _ => match star {
                Some((from, taken)) => {
                    star = Some((from, taken + 1));
                    (at, read) = (from + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use bus_schema::message::stream::RequestHead;

    use super::*;
    use crate::proxy::request::check;

    fn rules(texts: &[&str]) -> Vec<Deny> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn is_denied(rule: &str, method: &str, path: &str) -> bool {
        let request = check(&RequestHead { method: method.into(), path: path.into(), ..RequestHead::default() }).unwrap();
        let groups = ["hub:interns".to_owned()];
        denied(&rules(&[rule]), Asker { user: "hub:ann", groups: &groups }, &request).is_some()
    }

    #[test]
    fn a_rule_denies_what_fulfils_all_its_conditions() {
        assert!(is_denied("user=hub:ann", "GET", "/"));
        assert!(!is_denied("user=hub:bob", "GET", "/"));
        assert!(is_denied("group=hub:interns,method=delete", "DELETE", "/api"));
        assert!(!is_denied("group=hub:interns,method=delete", "GET", "/api"));
        assert!(is_denied("path=*/pods/*/exec", "POST", "/api/v1/namespaces/a/pods/b/exec?command=sh"));
        assert!(!is_denied("path=*/pods/*/exec", "POST", "/api/v1/namespaces/a/pods/b/log"));
        assert!(is_denied("path=*", "GET", "/"));
    }

    #[test]
    fn no_spelling_of_a_path_gets_around_a_rule() {
        let rule = "path=/api/v1/namespaces/*/secrets*";
        for path in [
            "/api/v1/namespaces/a/secrets",
            "/api/v1/namespaces/a/secrets/b",
            "/api/v1/namespaces/a/%73ecrets",
            "/api/v1/namespaces/a/secret%73/",
            "//api//v1/namespaces/a/./secrets",
            "/api/v1/namespaces/a/b/../secrets",
            "/api/v1/namespaces/a/secrets/../pods",
            "/x/%2e%2e/api/v1/namespaces/a/secrets",
            "/api%2fv1/namespaces/a/secrets?x",
        ] {
            assert!(is_denied(rule, "GET", path), "{path}");
        }
        assert!(!is_denied(rule, "GET", "/api/v1/namespaces/secrets/configmaps/b"));
    }

    #[test]
    fn what_is_no_rule_is_refused_with_an_example() {
        for odd in ["", "hub:ann", "user=", "path=api", "verb=get", "user=a,,method=GET"] {
            assert!(odd.parse::<Deny>().unwrap_err().contains("as group="), "{odd:?}");
        }
    }
}
