//! Which override comes first; the last one wins.

use std::fmt;

/// The kinds of override; all Globalizations come before all Localizations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OverrideKind {
    Globalization,
    Localization,
}

/// Names an override.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OverrideKey {
    pub kind: OverrideKind,
    /// Empty for a Globalization.
    pub namespace: String,
    pub name: String,
}

/// An override's place in the order: by kind, by priority, the older first, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub kind: OverrideKind,
    pub priority: i32,
    /// Seconds since 1970.
    pub created: Option<i64>,
    pub key: OverrideKey,
}

impl OverrideKey {
    pub fn global(name: impl Into<String>) -> Self {
        Self { kind: OverrideKind::Globalization, namespace: String::new(), name: name.into() }
    }

    pub fn local(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: OverrideKind::Localization, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for OverrideKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            OverrideKind::Globalization => write!(f, "Globalization {}", self.name),
            OverrideKind::Localization => write!(f, "Localization {}/{}", self.namespace, self.name),
        }
    }
}
