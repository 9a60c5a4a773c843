//! A live object seen through the fields that our manager owns: what drift is judged by.
//!
//! Pure. The server's own words are compared with the server's own words, so quantities, defaults and write-only fields never differ;
//! a field taken from us by somebody else does, because it leaves our set. Values stay raw slices of the answer.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ring::digest::{Context, SHA256};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::object::AGENT;

/// Field that an autoscaler may have taken over.
const REPLICAS: &str = ".spec.replicas";

/// What drift is compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// Over every owned field but the replica count.
    pub hash: [u8; 32],
    /// The replica count, if it is ours.
    pub replicas: Option<i64>,
}

/// Who took which field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Culprit {
    pub manager: String,
    pub field: String,
}

impl std::fmt::Display for Culprit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} changes {}", self.manager, self.field)
    }
}

/// A tree of owned fields (`FieldsV1`).
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct Fields(BTreeMap<String, Fields>);

#[derive(Deserialize)]
struct Owned<'a> {
    #[serde(borrow)]
    metadata: OwnedMeta<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnedMeta<'a> {
    #[serde(borrow, default)]
    managed_fields: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    manager: Cow<'a, str>,
    #[serde(borrow, default)]
    operation: Cow<'a, str>,
    #[serde(borrow, default)]
    subresource: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Cow<'a, str>,
    #[serde(rename = "fieldsV1", borrow)]
    fields: Option<&'a RawValue>,
}

impl Entry<'_> {
    fn is_ours(&self) -> bool {
        self.manager == AGENT && self.operation == "Apply" && self.subresource.is_empty()
    }

    fn tree(&self) -> Fields {
        self.fields.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }
}

/// The projection of one object as the server sent it; `None` if that is no object.
pub fn project(object: &[u8]) -> Option<Projection> {
    let ours = ours(&entries(object)?);
    let root: &RawValue = serde_json::from_slice(object).ok()?;
    let (mut context, mut replicas) = (Context::new(&SHA256), None);
    walk(&ours, Some(root), &mut String::new(), &mut |path, value| match path {
        REPLICAS => replicas = value.and_then(|raw| raw.get().parse().ok()),
        path => feed(&mut context, path, value),
    });
    let hash = context.finish().as_ref().try_into().ok()?;
    Some(Projection { hash, replicas })
}

/// The first of our fields that `live` had otherwise than `applied`, the server's answer to our apply, and whose it was.
pub fn culprit(live: &[u8], applied: &[u8], autoscaled: bool) -> Option<Culprit> {
    let (before, after) = (leaves(live)?, leaves(applied)?);
    let differs = |(path, hash): &(&String, &[u8; 32])| before.get(*path) != Some(*hash) && !(autoscaled && path.as_str() == REPLICAS);
    let field = after.iter().find(differs).map(|(path, _)| path.clone())?;
    let manager = holder(&entries(live)?, &field).unwrap_or_else(|| "somebody".into());
    Some(Culprit { manager, field })
}

/// The first text of ours that the server keeps otherwise than it was sent, as an admission webhook makes it. What begins as a number
/// does is left out: quantities, durations and addresses have many spellings, and the server's own is as good as ours.
pub fn rewritten(sent: &[u8], answer: &[u8]) -> Option<String> {
    let ours = ours(&entries(answer)?);
    let (sent, kept) = (texts(&ours, sent)?, texts(&ours, answer)?);
    let is_text = |text: &str| !text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    let differs = |(path, texts): &(&String, &Vec<String>)| match (texts.as_slice(), kept.get(*path).map(Vec::as_slice)) {
        ([sent], Some([kept])) => sent != kept && is_text(sent),
        _ => false,
    };
    let (path, texts) = sent.iter().find(differs)?;
    Some(format!("admission changes {path} from {:?} to {:?}", texts[0], kept[path][0]))
}

/// Every owned text by path; more than one where a list holds a key twice.
fn texts(ours: &Fields, object: &[u8]) -> Option<BTreeMap<String, Vec<String>>> {
    let root: &RawValue = serde_json::from_slice(object).ok()?;
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    walk(ours, Some(root), &mut String::new(), &mut |path, value| {
        if let Some(text) = value.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()) {
            texts.entry(path.to_owned()).or_default().push(text);
        }
    });
    Some(texts)
}

fn entries(object: &[u8]) -> Option<Vec<Entry<'_>>> {
    Some(serde_json::from_slice::<Owned>(object).ok()?.metadata.managed_fields)
}

fn ours(entries: &[Entry<'_>]) -> Fields {
    entries.iter().find(|entry| entry.is_ours()).map(Entry::tree).unwrap_or_default()
}

/// A short hash of every owned value, by path.
fn leaves(object: &[u8]) -> Option<BTreeMap<String, [u8; 32]>> {
    let ours = ours(&entries(object)?);
    let root: &RawValue = serde_json::from_slice(object).ok()?;
    let mut leaves = BTreeMap::new();
    walk(&ours, Some(root), &mut String::new(), &mut |path, value| {
        let mut context = Context::new(&SHA256);
        feed(&mut context, path, value);
        leaves.insert(path.to_owned(), context.finish().as_ref().try_into().unwrap_or_default());
    });
    Some(leaves)
}

/// The manager other than us that owns a path, the newest one first.
fn holder(entries: &[Entry<'_>], field: &str) -> Option<String> {
    let mut others: Vec<_> = entries.iter().filter(|entry| !entry.is_ours()).collect();
    others.sort_by(|a, b| b.time.cmp(&a.time));
    let owner = others.iter().find(|entry| owns(&entry.tree(), field));
    owner.map(|entry| entry.manager.to_string())
}

fn owns(fields: &Fields, path: &str) -> bool {
    let below = |(key, inner): (&String, &Fields)| {
        let rest = path.strip_prefix(&step(key));
        rest.is_some_and(|rest| rest.is_empty() || owns(inner, rest))
    };
    path.is_empty() || fields.0.iter().any(below)
}

/// How a key of the tree reads in a path for people.
fn step(key: &str) -> String {
    match key.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some((_, rest)) => format!("[{rest}]"),
        None => String::new(),
    }
}

fn feed(context: &mut Context, path: &str, value: Option<&RawValue>) {
    let value = value.map_or("", RawValue::get);
    for part in [path, value] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
}

type Map<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// Visits every owned leaf with its value; one that is not there is visited without.
fn walk(fields: &Fields, value: Option<&RawValue>, path: &mut String, visit: &mut dyn FnMut(&str, Option<&RawValue>)) {
    if fields.0.is_empty() {
        return visit(path, value);
    }
    let map: Map = value.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let list: Vec<&RawValue> = value.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let items: Vec<Map> = match fields.0.keys().any(|key| key.starts_with("k:")) {
        true => list.iter().map(|raw| serde_json::from_str(raw.get()).unwrap_or_default()).collect(),
        false => Vec::new(),
    };
    for (key, inner) in &fields.0 {
        let len = path.len();
        path.push_str(&step(key));
        match key.split_once(':') {
            Some(("f", name)) => walk(inner, map.get(name).copied(), path, visit),
            Some(("k", keys)) => walk_items(inner, &matching(keys, &items, &list), path, visit),
            Some(("v", wanted)) => visit(path, list.iter().copied().find(|raw| raw.get() == wanted)),
            Some(("i", index)) => walk(inner, index.parse().ok().and_then(|index: usize| list.get(index)).copied(), path, visit),
            // That a map or list exists is seen in its members.
            _ => {}
        }
        path.truncate(len);
    }
}

/// Duplicates are legal in some lists: all of them count.
fn walk_items(fields: &Fields, found: &[&RawValue], path: &mut String, visit: &mut dyn FnMut(&str, Option<&RawValue>)) {
    if found.is_empty() {
        return visit(path, None);
    }
    found.iter().for_each(|item| walk(fields, Some(item), path, visit));
}

fn matching<'a>(keys: &str, items: &[Map<'_>], list: &[&'a RawValue]) -> Vec<&'a RawValue> {
    let keys: BTreeMap<String, Value> = serde_json::from_str(keys).unwrap_or_default();
    let same = |item: &Map| {
        keys.iter().all(|(key, wanted)| {
            let found = item.get(key.as_str()).and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
            found.as_ref() == Some(wanted)
        })
    };
    items.iter().zip(list).filter(|(item, _)| same(item)).map(|(_, raw)| *raw).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(ours: &Value, rest: &[(&str, Value)], spec: Value) -> Vec<u8> {
        let mut entries = vec![json!({"manager": AGENT, "operation": "Apply", "fieldsV1": ours})];
        entries.extend(rest.iter().map(|(manager, fields)| json!({"manager": manager, "operation": "Update", "fieldsV1": fields})));
        json!({"metadata": {"managedFields": entries, "resourceVersion": "1"}, "spec": spec}).to_string().into_bytes()
    }

    fn image(image: &str) -> Value {
        json!({"list": [{"name": "a", "image": image, "default": 1}, {"name": "b", "image": "other"}]})
    }

    fn owned() -> Value {
        json!({"f:spec": {"f:list": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:image": {}}}}})
    }

    #[test]
    fn only_our_fields_count() {
        let base = project(&object(&owned(), &[], image("x"))).unwrap();
        let mut other = image("x");
        other["list"][0]["default"] = json!(2);
        other["list"][1]["image"] = json!("changed");
        assert_eq!(project(&object(&owned(), &[], other)), Some(base.clone()));
        assert_ne!(project(&object(&owned(), &[], image("y"))), Some(base));
    }

    #[test]
    fn a_field_that_was_taken_from_us_differs_even_at_the_same_value_and_its_taker_is_named() {
        let taken = json!({"f:spec": {"f:list": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}}}}});
        let theirs = json!({"f:spec": {"f:list": {"k:{\"name\":\"a\"}": {"f:image": {}}}}});
        let (applied, live) = (object(&owned(), &[], image("x")), object(&taken, &[("kubectl-edit", theirs)], image("y")));
        assert_ne!(project(&applied), project(&live));
        let culprit = culprit(&live, &applied, false).unwrap();
        assert_eq!(culprit.to_string(), r#"kubectl-edit changes .spec.list[{"name":"a"}].image"#);
    }

    #[test]
    fn a_text_that_admission_rewrites_is_named_and_another_spelling_is_not() {
        let owned = json!({"f:spec": {"f:image": {}, "f:cpu": {}, "f:count": {}, "f:gone": {}}});
        let answer = |image: &str| object(&owned, &[], json!({"image": image, "cpu": "500m", "count": 2}));
        let sent = json!({"spec": {"image": "x/y:1", "cpu": "0.5", "count": 1, "gone": "z"}}).to_string();
        assert_eq!(rewritten(sent.as_bytes(), &answer("x/y:1")), None);
        let told = rewritten(sent.as_bytes(), &answer("mirror/y:1")).unwrap();
        assert_eq!(told, r#"admission changes .spec.image from "x/y:1" to "mirror/y:1""#);
    }

    #[test]
    fn replicas_are_kept_apart() {
        let owned = json!({"f:spec": {"f:replicas": {}, "f:x": {}}});
        let (two, five) = (object(&owned, &[], json!({"replicas": 2, "x": 1})), object(&owned, &[], json!({"replicas": 5, "x": 1})));
        let (first, second) = (project(&two).unwrap(), project(&five).unwrap());
        assert_eq!((first.hash, first.replicas, second.replicas), (second.hash, Some(2), Some(5)));
        assert_eq!(culprit(&five, &two, false).map(|culprit| culprit.field), Some(".spec.replicas".into()));
        assert_eq!(culprit(&five, &two, true), None);
    }

    #[test]
    fn duplicate_keys_sets_and_indexes_are_read() {
        let owned = json!({"f:spec": {"f:env": {"k:{\"name\":\"A\"}": {"f:value": {}}}, "f:set": {"v:\"x\"": {}}, "f:at": {"i:1": {}}}});
        let spec = |second: &str, set: &str, at: u8| json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": second}], "set": [set], "at": [0, at]});
        let base = project(&object(&owned, &[], spec("2", "x", 1)));
        for changed in [spec("3", "x", 1), spec("2", "y", 1), spec("2", "x", 2)] {
            assert_ne!(project(&object(&owned, &[], changed)), base);
        }
    }

    #[test]
    fn odd_answers_do_no_harm() {
        for text in ["", "[]", "3", "{}", r#"{"metadata":{}}"#, r#"{"metadata":{"managedFields":[{"fieldsV1":3}]},"spec":[]}"#] {
            let _ = (project(text.as_bytes()), culprit(text.as_bytes(), text.as_bytes(), false));
            let _ = rewritten(text.as_bytes(), text.as_bytes());
        }
        let odd = json!({"f:spec": {"k:nonsense": {"f:x": {}}, "i:-1": {}, "v:": {}, "plain": {"f:y": {}}}});
        assert!(project(&object(&odd, &[], json!("text"))).is_some());
    }
}
