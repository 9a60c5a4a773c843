//! Which templates' facts the status writer has not been told yet.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::outcome::TemplateFacts;
use crate::kinds::Manifest;

/// Facts by the Manifest's name, as they were seen last.
#[derive(Default)]
pub struct Templates {
    known: BTreeMap<String, TemplateFacts>,
    owed: BTreeSet<String>,
}

impl Templates {
    /// Takes a Manifest as it is now.
    pub fn see(&mut self, manifest: &Manifest) {
        let name = manifest.metadata.name.clone().unwrap_or_default();
        match TemplateFacts::of(manifest) {
            Some(facts) if self.known.get(&name) != Some(&facts) => {
                self.known.insert(name.clone(), facts);
                self.owed.insert(name);
            }
            Some(_) => {}
            None => self.delete(&name),
        }
    }

    /// Takes note that a Manifest is gone.
    pub fn delete(&mut self, name: &str) {
        if self.known.remove(name).is_some() {
            self.owed.insert(name.to_owned());
        }
    }

    /// Deletes every Manifest that a complete list did not name.
    pub fn retain(&mut self, listed: &BTreeSet<String>) {
        let gone: Vec<String> = self.known.keys().filter(|name| !listed.contains(*name)).cloned().collect();
        gone.iter().for_each(|name| self.delete(name));
    }

    /// What has changed since the last time; none for a template that is gone.
    pub fn take(&mut self) -> Vec<(String, Option<TemplateFacts>)> {
        let owed = std::mem::take(&mut self.owed);
        owed.into_iter().map(|name| (name.clone(), self.known.get(&name).cloned())).collect()
    }
}
