//! What only memory knows, and the API shows: asked through a trait, since this room knows neither clusters nor the bus.

use serde_json::Value;

/// The side that knows.
pub trait Live: Send + Sync {
    /// Brings what is stored of an object of this kind up to date, where memory knows better.
    fn fill(&self, kind: &str, object: &mut Value);

    /// Whether this Subscription takes this ManagedCluster; what cannot be read is taken.
    fn binds(&self, subscription: &Value, cluster: &Value) -> bool;

    /// All rows of a sub-resource of one object, sorted by their `key`, beginning after the row of this key, and at most `most` of
    /// them (0: all); none for an object that nothing is known of.
    fn rows(&self, kind: &str, namespace: &str, name: &str, after: Option<&str>, most: usize) -> Option<Rows>;
}

/// A page of rows.
#[derive(Debug, Default, PartialEq)]
pub struct Rows {
    pub items: Vec<Row>,
    /// How many follow the last of these.
    pub remaining: usize,
}

/// One row: what it is sorted by, and what it says.
#[derive(Debug, PartialEq)]
pub struct Row {
    pub key: String,
    pub value: Value,
}

/// Kinds of which memory may know better than the store.
pub fn is_filled(kind: &str) -> bool {
    kind == "ManagedCluster"
}
