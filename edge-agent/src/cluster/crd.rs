//! CustomResourceDefinitions: waiting until one is established, and what one serves.

use std::time::Duration;

use serde::Deserialize;

use super::api::{Accept, Api, Failure, escape};
use super::discovery::{Discovery, Missing, Resource};
use super::object::null_as_empty;

/// First pause between two looks; it doubles to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// How far a definition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Established {
    /// Its objects can be applied.
    Yes,
    /// Not within the patience given, with the server's reason.
    NotYet(String),
    /// There is no such definition.
    Gone,
    /// The server can't be asked now.
    Unavailable(String),
}

/// Waits until the definition `name` (`plural.group`) is established and in the server's discovery, at most `patience`.
///
/// The server sets the condition before its discovery names the kind, so the condition alone is not enough.
pub async fn wait_established(api: &Api, discovery: &Discovery, name: &str, patience: Duration) -> Established {
    let end = tokio::time::Instant::now() + patience;
    let mut pause = FIRST_PAUSE;
    loop {
        let why = match find(api, name).await {
            Ok(None) => return Established::Gone,
            Ok(Some(definition)) if !definition.is_established() => definition.obstacle(),
            Ok(Some(definition)) => match definition.discovered(discovery).await {
                Ok(()) => return Established::Yes,
                Err(missing) => missing.to_string(),
            },
            Err(failure) => return Established::Unavailable(failure.to_string()),
        };
        if tokio::time::Instant::now() + pause > end {
            return Established::NotYet(why);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// The resource under which a definition's objects are listed; `None` when it is gone or was never established.
pub(super) async fn served(api: &Api, name: &str) -> Result<Option<Resource>, Failure> {
    let Some(definition) = find(api, name).await? else {
        return Ok(None);
    };
    Ok(definition.is_established().then(|| definition.resource()).flatten())
}

async fn find(api: &Api, name: &str) -> Result<Option<Definition>, Failure> {
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{}", escape(name));
    api.find(&path, Accept::Whole).await
}

#[derive(Deserialize)]
struct Definition {
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Spec {
    group: String,
    names: Names,
    scope: String,
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Names {
    plural: String,
    kind: String,
}

#[derive(Deserialize)]
struct Version {
    name: String,
    served: bool,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default, deserialize_with = "null_as_empty")]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    message: String,
}

impl Definition {
    fn is_established(&self) -> bool {
        self.status.conditions.iter().any(|c| c.kind == "Established" && c.status == "True")
    }

    /// Asks discovery afresh for a version that is served; a definition that serves none has nothing to wait for.
    async fn discovered(&self, discovery: &Discovery) -> Result<(), Missing> {
        discovery.forget(&self.spec.group).await;
        match self.spec.versions.iter().find(|version| version.served) {
            Some(version) => discovery.resource(&self.spec.group, &version.name, &self.spec.names.kind).await.map(drop),
            None => Ok(()),
        }
    }

    fn obstacle(&self) -> String {
        let refused = self.status.conditions.iter().find(|c| c.status == "False" && !c.message.is_empty());
        refused.map_or_else(|| "the server has not looked at it yet".into(), |c| c.message.clone())
    }

    /// A definition that serves no version hides its objects, which is as good as unlistable: the path then fails.
    fn resource(self) -> Option<Resource> {
        let served = self.spec.versions.iter().find(|version| version.served).or(self.spec.versions.first())?;
        Some(Resource {
            version: served.name.clone(),
            group: self.spec.group,
            kind: self.spec.names.kind,
            plural: self.spec.names.plural,
            namespaced: self.spec.scope == "Namespaced",
            listable: true,
            deletable: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(status: &str) -> Definition {
        let spec = r#""spec":{"group":"g.io","scope":"Namespaced","names":{"plural":"shops","kind":"Shop"},
            "versions":[{"name":"v1","served":false},{"name":"v2","served":true}]}"#;
        serde_json::from_str(&format!("{{{spec},{status}}}")).expect("test definition")
    }

    #[test]
    fn a_name_conflict_is_told() {
        let conflict = r#""status":{"conditions":[{"type":"NamesAccepted","status":"False","message":"taken"}]}"#;
        let definition = definition(conflict);
        assert!(!definition.is_established());
        assert_eq!(definition.obstacle(), "taken");
    }

    #[test]
    fn objects_are_listed_at_a_served_version() {
        let established = r#""status":{"conditions":[{"type":"Established","status":"True"}]}"#;
        let resource = definition(established).resource().expect("a resource");
        assert_eq!(resource.collection(""), "/apis/g.io/v2/shops");
    }
}
