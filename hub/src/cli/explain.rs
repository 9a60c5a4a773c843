//! `render`: what one cluster gets of one Subscription, as YAML, and which override set what.
//!
//! Reads what the planner reads and asks the same index; changes nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, bail};
use clap::Args;
use kube::Client;
use kube::api::Api;
use serde_json::Value;

use super::reach::{Reach, Reached, list};
use crate::core::id::{ClusterKey, SubscriptionKey};
use crate::core::index::{Explained, Explanation, Index};
use crate::core::overrides::{Override, Step};
use crate::core::plan::Content;
use crate::kinds::names::RESERVED_NAMESPACE;
use crate::kinds::{Globalization, Localization, ManagedCluster, Manifest, Subscription};

/// What `render` is asked.
#[derive(Debug, Clone, Args)]
pub struct RenderArgs {
    /// The Subscription's name.
    pub subscription: String,
    /// The Subscription's namespace.
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// The ManagedCluster, as NAME or NAMESPACE/NAME.
    #[arg(long)]
    pub cluster: String,
    #[command(flatten)]
    pub reach: Reach,
}

/// What `render` prints.
///
/// # Errors
/// The API can't be read, or there is no such Subscription or cluster.
pub async fn explain(hub: &Reached, args: &RenderArgs) -> anyhow::Result<String> {
    of_api(&hub.client, &args.namespace, &args.subscription, &args.cluster).await
}

/// The same from an API that is at hand.
///
/// # Errors
/// As [`explain`].
pub async fn of_api(client: &Client, namespace: &str, subscription: &str, cluster: &str) -> anyhow::Result<String> {
    let mut index = Index::default();
    let clusters = list::<ManagedCluster>(Api::all(client.clone())).await?;
    let subscriptions = list::<Subscription>(Api::all(client.clone())).await?;
    list::<Globalization>(Api::all(client.clone())).await?.iter().for_each(|each| index.apply_override(Override::of_globalization(each)));
    list::<Localization>(Api::all(client.clone())).await?.iter().for_each(|each| index.apply_override(Override::of_localization(each)));
    for manifest in list::<Manifest>(Api::namespaced(client.clone(), RESERVED_NAMESPACE)).await? {
        // One that is no object counts as missing, as it does for the planner.
        let _counts_as_missing = index.apply_manifest(&manifest);
    }
    clusters.iter().for_each(|each| index.apply_cluster(each));
    subscriptions.iter().for_each(|each| index.apply_subscription(each));

    let key = SubscriptionKey::new(namespace, subscription);
    let cluster = chosen(&clusters, cluster)?;
    let found = index.explain(&key, &cluster);
    let found = found.with_context(|| format!("there is no Subscription {key} on this hub: name its namespace with -n"))?;
    let waiting = subscriptions.iter().find(|each| SubscriptionKey::of(each) == key).and_then(waiting);
    Ok(written(&key, &cluster, &found, waiting.as_deref()))
}

/// The cluster of a name, or of `namespace/name`.
fn chosen(clusters: &[ManagedCluster], wanted: &str) -> anyhow::Result<ClusterKey> {
    let all = clusters.iter().map(ClusterKey::of);
    let named: BTreeSet<ClusterKey> = all.filter(|key| key.name == wanted || key.to_string() == wanted).collect();
    let mut named = named.into_iter();
    match (named.next(), named.next()) {
        (Some(key), None) => Ok(key),
        (Some(one), Some(other)) => bail!("--cluster {wanted}: there are {one} and {other}: write namespace/name"),
        (None, _) => bail!("--cluster {wanted}: there is no such ManagedCluster: see kubectl get mcls -A"),
    }
}

/// What the running hub says of overrides that wait, which are shown here as if they did not.
fn waiting(subscription: &Subscription) -> Option<String> {
    let conditions = subscription.status.as_ref()?.conditions.iter();
    let mut found = conditions.filter(|condition| condition.type_ == "OverridesApplied" && condition.reason == "ApplyLater");
    found.next().map(|condition| condition.message.clone())
}

fn written(key: &SubscriptionKey, cluster: &ClusterKey, found: &Explanation, waiting: Option<&str>) -> String {
    let mut out = format!("# Subscription {key} on cluster {cluster}\n");
    if let Some(problem) = &found.problem {
        comment(&mut out, &format!("held, nothing is sent: {problem}"));
    }
    if !found.bound {
        comment(&mut out, "it is not bound to this cluster: compare its subscribers with the cluster's labels and taints");
    }
    if let Some(waiting) = waiting {
        comment(&mut out, &format!("shown with what waits: {waiting}"));
    }
    found.objects.iter().for_each(|object| document(&mut out, object));
    out
}

fn document(out: &mut String, object: &Explained) {
    out.push_str("---\n");
    comment(out, &object.entry.object.to_string());
    object.steps.iter().for_each(|step| comment(out, &told(step)));
    match &object.entry.content {
        Content::Keep => comment(out, "no template, or held: what is on the cluster stays as it is"),
        Content::Bytes(bytes) => {
            let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
            out.push_str(&serde_saphyr::to_string(&value).unwrap_or_else(|_| value.to_string()));
            if !out.ends_with('\n') {
                out.push('\n');
            }
        }
    }
}

fn told(step: &Step) -> String {
    let by = format!("{} {}", step.by, step.entry);
    match &step.result {
        Ok(pointers) if pointers.is_empty() => format!("{by} sets nothing"),
        Ok(pointers) => format!("{by} sets {}", pointers.join(", ")),
        Err(failure) => {
            let at = failure.pointer.as_ref().map(|pointer| format!(" at {pointer}")).unwrap_or_default();
            format!("{by} is LEFT OUT{at}: {}", failure.why)
        }
    }
}

/// A comment, also of a text with several lines.
fn comment(out: &mut String, text: &str) {
    for line in text.lines() {
        let _infallible = writeln!(out, "# {line}");
    }
}
