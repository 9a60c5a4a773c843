//! Labels that no cluster may give itself, so that a member gone bad cannot place itself under a Subscription that selects by them.
//! The hub's administrators set them, with a join token or on the ManagedCluster.

use std::collections::BTreeMap;

use super::node_labels::is_acceptable;

/// Labels of Kubernetes and of this hub that are meant for this, domains that end with `/`.
pub const DEFAULT: [&str; 2] = ["node-restriction.kubernetes.io/", "hub.clusternet.io/"];

/// Keys, and domains with all that is below them.
#[derive(Clone, Debug)]
pub struct Reserved(Vec<String>);

impl Default for Reserved {
    fn default() -> Reserved {
        Reserved(DEFAULT.map(str::to_owned).to_vec())
    }
}

impl Reserved {
    /// Reads `KEY` and `DOMAIN/`.
    ///
    /// # Errors
    /// What is neither, and how to write it.
    pub fn parse(entries: &[String]) -> Result<Reserved, String> {
        let is_entry = |entry: &&String| is_acceptable(&if entry.ends_with('/') { format!("{entry}x") } else { (*entry).clone() }, "");
        match entries.iter().find(|entry| !is_entry(entry)) {
            Some(wrong) => Err(format!("{wrong:?} is no label and no domain of labels: write KEY, as tier, or DOMAIN/, as example.com/")),
            None => Ok(Reserved(entries.to_vec())),
        }
    }

    /// Whether a label is reserved: by its key, or by its domain or one above it.
    pub fn covers(&self, key: &str) -> bool {
        let domain = key.split_once('/').map(|(domain, _)| domain);
        self.0.iter().any(|entry| match entry.strip_suffix('/') {
            None => entry == key,
            Some(of) => domain.is_some_and(|domain| domain.strip_suffix(of).is_some_and(|above| above.is_empty() || above.ends_with('.'))),
        })
    }

    /// The labels that are not reserved.
    pub fn without(&self, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        labels.iter().filter(|(key, _)| !self.covers(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_domains_with_all_below_them_are_reserved() {
        let reserved = Reserved::parse(&["tier".to_owned(), "example.com/".to_owned(), "acme.io/zone".to_owned()]).unwrap();
        for key in ["tier", "example.com/x", "a.b.example.com/x", "acme.io/zone"] {
            assert!(reserved.covers(key), "{key}");
        }
        for key in
            ["tiers", "example.com", "badexample.com/x", "example.com.org/x", "acme.io/zones", "x/tier", "topology.kubernetes.io/zone"]
        {
            assert!(!reserved.covers(key), "{key}");
        }
        assert!(Reserved::default().covers("node-restriction.kubernetes.io/pci") && Reserved::default().covers("hub.clusternet.io/site"));
        for wrong in ["", "/", "a b", "UPPER.example/", "x//", "a/b/c", "clusters.clusternet.io/"] {
            assert!(Reserved::parse(&[wrong.to_owned()]).is_err(), "{wrong:?}");
        }
    }
}
