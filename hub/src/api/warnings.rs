//! What a person wants to hear at once of an object that is valid and does nothing: sentences for `Warning:` headers.

use serde_json::Value;

use super::advice;
use super::catalogue::{self, Role};
use super::serve::Call;
use super::target::Target;
use crate::store::{Query, Row};

const CLUSTERS: &str = "managedclusters.clusters.clusternet.io";

/// The sentences for an object that was just written.
pub async fn of(call: &Call, object: &Value) -> Vec<String> {
    let spec = &object["spec"];
    match (call.target.resource.kind, &call.target.subresource) {
        ("Subscription", None) => {
            let feeds = spec["feeds"].as_array().into_iter().flatten().enumerate();
            let mut sentences: Vec<String> =
                feeds.filter_map(|(index, feed)| about_feed(call, &format!("spec.feeds[{index}]"), feed)).collect();
            sentences.extend(no_cluster(call, object).await);
            sentences
        }
        ("Localization" | "Globalization", None) => {
            let feed = about_feed(call, "spec.feed", &spec["feed"]);
            feed.into_iter().chain(advice::idle(call.target.resource, object)).collect()
        }
        _ => Vec::new(),
    }
}

fn about_feed(call: &Call, field: &str, feed: &Value) -> Option<String> {
    let text = |key: &str| feed[key].as_str().unwrap_or_default();
    let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
    if (group, text("kind")) == ("apps.clusternet.io", "HelmChart") {
        return Some(format!("{field}: HelmChart feeds are not supported yet and distribute nothing: feed the chart's manifests"));
    }
    let resource = catalogue::find_kind(group, text("kind")).filter(|resource| resource.role == Role::Template)?;
    let namespace = resource.namespaced.then(|| text("namespace").to_owned());
    let target = Target { resource, namespace, name: None, subresource: None };
    let missing = matches!(call.state.store().get(&target.key(text("name"))), Ok(None));
    let named = [text("namespace"), text("name")].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/");
    missing.then(|| {
        format!("{field}: there is no {} {named} on this hub yet; nothing is distributed for it until it is applied", resource.kind)
    })
}

/// Reads clusters until one is bound; a hub that cannot say how, or cannot read, says nothing.
async fn no_cluster(call: &Call, subscription: &Value) -> Option<String> {
    let live = call.state.live()?.clone();
    subscription["spec"]["subscribers"].as_array().filter(|subscribers| !subscribers.is_empty())?;
    let query = Query { resource: CLUSTERS.into(), limit: 1, ..Query::default() };
    let wanted = subscription.clone();
    let bound = move |row: Row<'_>| {
        let cluster: Value = serde_json::from_slice(row.body).ok()?;
        live.binds(&wanted, &cluster).then_some(())
    };
    let page = call.state.store().list(query, bound).await.ok()?;
    page.items.is_empty().then(|| {
        "spec.subscribers: no ManagedCluster matches: nothing is distributed until one does; compare `kubectl get mcls -A --show-labels`"
            .to_owned()
    })
}
