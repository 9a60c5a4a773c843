//! Label and field selectors in the text form of list and watch requests.

use serde_json::Value;

use super::failure::Failure;

/// What an object must look like to be in a list or a watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Above(i64),
    Below(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    path: String,
    value: String,
    equal: bool,
}

/// Fields of events that kubectl selects by.
const EVENT_FIELDS: &[&str] = &["involvedObject.", "regarding.", "reason", "type", "reportingComponent", "source"];

impl Selector {
    /// Reads both selectors; `kind` decides which fields are known.
    ///
    /// # Errors
    /// 400 naming the part that can't be read.
    pub fn parse(labels: Option<&str>, fields: Option<&str>, kind: &str) -> Result<Self, Failure> {
        let labels = split(labels.unwrap_or_default()).into_iter().map(requirement).collect::<Result<_, _>>()?;
        let fields = split(fields.unwrap_or_default()).into_iter().map(|part| field(part, kind)).collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The one name that can match, if the selector says so.
    pub fn only_name(&self) -> Option<&str> {
        let named = |field: &&Field| field.equal && field.path == "metadata.name";
        self.fields.iter().find(named).map(|field| field.value.as_str())
    }

    /// Whether `object` is selected.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|wanted| wanted.test.holds(labels.get(&wanted.key).and_then(Value::as_str)))
            && self.fields.iter().all(|field| (field.of(object) == field.value) == field.equal)
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|text| text.parse::<i64>().ok());
        match self {
            Self::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
            Self::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
            Self::Exists => value.is_some(),
            Self::Absent => value.is_none(),
            Self::Above(limit) => number().is_some_and(|number| number > *limit),
            Self::Below(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

impl Field {
    fn of<'a>(&self, object: &'a Value) -> &'a str {
        let value = self.path.split('.').try_fold(object, |value, part| value.get(part));
        value.and_then(Value::as_str).unwrap_or_default()
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0usize;
    let outside = |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    text.split(outside).map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn requirement(part: &str) -> Result<Requirement, Failure> {
    let unreadable = || Failure::bad_request(format!("unable to parse requirement: {part:?} in labelSelector"));
    let (key, test) = if let Some(open) = part.find('(') {
        let values = part[open + 1..].strip_suffix(')').ok_or_else(unreadable)?;
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let mut words = part[..open].split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => (key, Test::In(values)),
            (Some(key), Some("notin"), None) => (key, Test::NotIn(values)),
            _ => return Err(unreadable()),
        }
    } else if let Some(key) = part.strip_prefix('!') {
        (key.trim(), Test::Absent)
    } else if let Some((key, value)) = part.split_once("!=") {
        (key, Test::NotIn(vec![value.trim().into()]))
    } else if let Some((key, value)) = part.split_once('=') {
        (key, Test::In(vec![value.strip_prefix('=').unwrap_or(value).trim().into()]))
    } else if let Some((key, limit)) = part.split_once('>') {
        (key, Test::Above(limit.trim().parse().map_err(|_| unreadable())?))
    } else if let Some((key, limit)) = part.split_once('<') {
        (key, Test::Below(limit.trim().parse().map_err(|_| unreadable())?))
    } else {
        (part, Test::Exists)
    };
    let key = key.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if key.is_empty() || !key.chars().all(legal) {
        return Err(unreadable());
    }
    Ok(Requirement { key: key.to_owned(), test })
}

fn field(part: &str, kind: &str) -> Result<Field, Failure> {
    let unreadable = || Failure::bad_request(format!("invalid field selector: {part:?}; can't understand it"));
    let (path, value, equal) = if let Some((path, value)) = part.split_once("!=") {
        (path, value, false)
    } else {
        let (path, value) = part.split_once('=').ok_or_else(unreadable)?;
        (path, value.strip_prefix('=').unwrap_or(value), true)
    };
    let of_event = kind == "Event" && EVENT_FIELDS.iter().any(|known| path.starts_with(known));
    if !(matches!(path, "metadata.name" | "metadata.namespace") || of_event || (kind == "Secret" && path == "type")) {
        return Err(Failure::bad_request(format!("field label not supported: {path}")));
    }
    Ok(Field { path: path.to_owned(), value: value.to_owned(), equal })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(labels: &str, object: &Value) -> bool {
        Selector::parse(Some(labels), None, "Thing").expect("selector").matches(object)
    }

    #[test]
    fn label_selectors_cover_equality_sets_existence_and_order() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "5"}}});
        for holds in
            ["app=web", "app==web", "app!=db", "app in (db, web)", "app notin (db)", "app", "!gone", "gone!=x", "tier>4", "tier<6,app=web"]
        {
            assert!(matches(holds, &object), "{holds}");
        }
        for fails in ["app=db", "app!=web", "app in (db)", "app notin (web)", "gone", "!app", "tier>5", "app>1", "app=web,gone"] {
            assert!(!matches(fails, &object), "{fails}");
        }
    }

    #[test]
    fn selectors_that_can_not_be_read_are_refused_not_ignored() {
        for bad in ["app in (a", "a b", "=x", "app xin (a)", "tier>x"] {
            assert_eq!(Selector::parse(Some(bad), None, "Thing").expect_err(bad).code, 400, "{bad}");
        }
        assert_eq!(Selector::parse(None, Some("spec.x=1"), "Thing").expect_err("unknown field").code, 400);
    }

    #[test]
    fn field_selectors_know_names_and_the_objects_of_events() {
        let event = json!({"metadata": {"name": "e"}, "involvedObject": {"name": "x"}});
        let selector = Selector::parse(None, Some("involvedObject.name=x,metadata.name!=f"), "Event").expect("selector");
        assert!(selector.matches(&event));
        assert_eq!(Selector::parse(None, Some("metadata.name=e"), "Event").expect("selector").only_name(), Some("e"));
    }
}
