//! Lists, a page at a time, so that memory does not grow with the cluster.

use serde::de::DeserializeOwned;

use super::api::{Accept, Api, Failure, PAGE, escape};
use super::object::PartialList;

/// Reads a collection page by page.
pub(super) struct Pager {
    path: String,
    accept: Accept,
    next: Option<String>,
    resource_version: String,
}

impl Pager {
    /// Starts at the first page; `selector` is a label selector or empty.
    pub(super) fn new(collection: &str, selector: &str, accept: Accept) -> Self {
        let selected = match selector {
            "" => String::new(),
            selector => format!("&labelSelector={}", escape(selector)),
        };
        Self { path: format!("{collection}?limit={PAGE}{selected}"), accept, next: Some(String::new()), resource_version: String::new() }
    }

    /// The next page, `None` after the last.
    pub(super) async fn page<T: DeserializeOwned>(&mut self, api: &Api) -> Result<Option<Vec<T>>, Failure> {
        let Some(token) = self.next.take() else {
            return Ok(None);
        };
        let path = match token.as_str() {
            "" => self.path.clone(),
            token => format!("{}&continue={}", self.path, escape(token)),
        };
        let list: PartialList<T> = api.get(&path, self.accept).await?;
        self.resource_version = list.metadata.resource_version;
        self.next = Some(list.metadata.next).filter(|next| !next.is_empty());
        Ok(Some(list.items))
    }

    /// The version of the last page read.
    pub(super) fn resource_version(&self) -> &str {
        &self.resource_version
    }
}
