//! Which objects a list or watch wants: equality and existence over labels, (in)equality over fields; anything else is refused.

use hub::api::failure::Failure;
use serde_json::Value;

/// Whether an object is wanted.
pub type Wanted = Box<dyn Fn(&Value) -> bool + Send + Sync>;

/// Reads both selectors of a request.
///
/// # Errors
/// 400 for a selector that is not understood.
pub fn selector(labels: &str, fields: &str) -> Result<Wanted, Failure> {
    let (labels, fields) = (terms(labels), terms(fields));
    let odd = |term: &&String| term.replacen("!=", "", usize::from(fields.contains(*term))).contains(['(', '!', '<', '>']);
    if let Some(odd) = labels.iter().chain(&fields).find(odd) {
        return Err(Failure::bad_request(format!("a sandbox does not understand the selector {odd:?}")));
    }
    Ok(Box::new(move |object| labels.iter().all(|term| has_label(object, term)) && fields.iter().all(|term| has_field(object, term))))
}

fn terms(text: &str) -> Vec<String> {
    text.split(',').filter(|term| !term.is_empty()).map(str::to_owned).collect()
}

fn has_label(object: &Value, term: &str) -> bool {
    let labels = &object["metadata"]["labels"];
    match term.split_once('=') {
        Some((key, value)) => labels[key] == value.trim_start_matches('='),
        None => labels.get(term).is_some(),
    }
}

fn has_field(object: &Value, term: &str) -> bool {
    let (path, value) = term.split_once('=').unwrap_or((term, ""));
    let (path, equal) = path.strip_suffix('!').map_or((path, true), |path| (path, false));
    let found = object.pointer(&format!("/{}", path.replace('.', "/")));
    (found.and_then(Value::as_str).unwrap_or_default() == value.trim_start_matches('=')) == equal
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_and_fields_are_compared_and_the_rest_is_refused() {
        let object = json!({"metadata": {"name": "web", "labels": {"app.io/x": "y"}}});
        let wants = |labels, fields| selector(labels, fields).unwrap()(&object);
        assert!(wants("app.io/x=y", "metadata.name=web") && wants("app.io/x", "") && wants("app.io/x==y", ""));
        assert!(wants("", "status.phase!=Running") && !wants("", "metadata.name!=web"));
        assert!(!wants("app.io/x=z", "") && !wants("other", "") && !wants("", "metadata.name=db"));
        assert!(selector("a in (b)", "").is_err() && selector("!a", "").is_err());
    }
}
