//! The hub's own API over a store in a temporary folder, one a test, with no socket between.

use hub::api::{ApiState, Authenticator, DEFAULT_MEMBER_LIMIT, Identity};
use hub::store::Store;
use kube::Client;
use tempfile::TempDir;

/// A running embedded API; its store goes with it.
pub struct Embedded {
    pub client: Client,
    _folder: TempDir,
}

/// A client of an embedded API of this test's own, with the schemas that the hub runs with.
pub fn embedded_client() -> Embedded {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(folder.path()).expect("an empty folder");
    let state = ApiState::new(store, hub::kinds::schemas(), Authenticator::new("admin"), DEFAULT_MEMBER_LIMIT);
    let client = hub::api::client(&state, Identity::admin("hub"));
    Embedded { client, _folder: folder }
}
