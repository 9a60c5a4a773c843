//! Facts as they travel: JSON of at most [`MAX_FACTS`] bytes. Only labels can be many, so labels are what is cut, and the rest says how many.

use bus_schema::limits::{MAX_FACTS, MAX_NODE_LABELS};

use super::Facts;

impl Facts {
    /// The JSON that is told.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let mut facts = self.clone();
        loop {
            let count = facts.node_labels.as_ref().map_or(0, |labels| labels.len());
            let json = serde_json::to_vec(&facts).expect("facts are JSON");
            if count == 0 || (count <= MAX_NODE_LABELS && json.len() <= MAX_FACTS) {
                return json;
            }
            facts.drop_label();
        }
    }

    /// Leaves out the label that sorts last.
    fn drop_label(&mut self) {
        self.node_labels.as_mut().and_then(|labels| labels.pop_last());
        self.node_labels_left_out = self.node_labels_left_out.saturating_add(1);
    }

    /// Reads what was told.
    #[must_use]
    pub fn from_wire(json: &[u8]) -> Option<Facts> {
        serde_json::from_slice(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_labels(count: usize, value: &str) -> Facts {
        let labels = (0..count).map(|index| (format!("node.clusternet.io/{index:04}"), value.to_owned())).collect();
        Facts { node_labels: Some(labels), k8s_version: "v1.37.2".into(), ..Facts::default() }
    }

    #[test]
    fn labels_beyond_the_limits_are_cut_and_counted() {
        let read = |facts: &Facts| Facts::from_wire(&facts.to_wire()).expect("facts");
        let few = with_labels(MAX_NODE_LABELS, "x");
        assert_eq!(read(&few), few);
        let many = read(&with_labels(MAX_NODE_LABELS + 5, "x"));
        assert_eq!((many.node_labels.unwrap().len(), many.node_labels_left_out), (MAX_NODE_LABELS, 5));
        let long = with_labels(60, &"y".repeat(250));
        let cut = read(&long);
        let left = cut.node_labels.unwrap().len();
        assert!(long.to_wire().len() <= MAX_FACTS && left > 20 && cut.node_labels_left_out as usize == 60 - left, "{left}");
    }
}
