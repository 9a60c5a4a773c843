//! The application the tests deploy: the web shop in `tests/app`, its changed version, and the Subscription that feeds it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The web shop's YAML.
#[derive(Clone, Debug)]
pub struct App {
    objects: String,
    changed: String,
    subscription: String,
}

/// One feed of the Subscription.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Feed {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for a Namespace itself.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl App {
    /// Reads `tests/app`.
    ///
    /// # Errors
    /// When a file is missing.
    pub fn load() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("app");
        let [objects, changed] = ["objects", "changed"].map(|part| read_all(&folder.join(part)));
        Ok(Self { objects: objects?, changed: changed?, subscription: read(&folder.join("subscription.yaml"))? })
    }

    /// All objects, as one text for `kubectl apply -f -`.
    #[must_use]
    pub fn objects(&self) -> &str {
        &self.objects
    }

    /// The second version of some of the objects.
    #[must_use]
    pub fn changed(&self) -> &str {
        &self.changed
    }

    /// The Subscription that feeds all objects to clusters labelled `purpose: shop`.
    #[must_use]
    pub fn subscription(&self) -> &str {
        &self.subscription
    }

    /// The Subscription's feeds, in its order.
    #[must_use]
    pub fn feeds(&self) -> Vec<Feed> {
        self.subscription.lines().filter_map(feed).collect()
    }
}

/// Each feed is a line `- {key: value, ...}`, so that a test can take one out by its line.
fn feed(line: &str) -> Option<Feed> {
    let inside = line.trim().strip_prefix("- {")?.strip_suffix('}')?;
    let value = |key: &str| {
        let pairs = inside.split(", ").filter_map(|pair| pair.split_once(": "));
        pairs.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
    };
    let namespace = value("namespace").unwrap_or_default();
    Some(Feed { api_version: value("apiVersion")?, kind: value("kind")?, namespace, name: value("name")? })
}

fn read_all(folder: &Path) -> Result<String> {
    let entries = fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let texts = files.iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?;
    Ok(texts.join("---\n"))
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_read_from_its_line() {
        let read = feed("    - {apiVersion: apps/v1, kind: Deployment, namespace: shop, name: cart}").unwrap();
        assert_eq!((read.api_version.as_str(), read.kind.as_str()), ("apps/v1", "Deployment"));
        assert_eq!((read.namespace.as_str(), read.name.as_str()), ("shop", "cart"));
        assert_eq!(feed("  feeds:"), None);
    }

    #[test]
    fn every_document_is_fed_once() {
        let app = App::load().unwrap();
        let mut feeds = app.feeds();
        assert_eq!(feeds.len(), app.objects().split("\n---\n").count());
        feeds.sort();
        feeds.dedup();
        assert_eq!(feeds.len(), 35);
    }
}
