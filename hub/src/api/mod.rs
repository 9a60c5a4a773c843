//! The embedded Kubernetes-style API over the store: one axum `Router`, for sockets and for `kube::Client` in process alike.
//!
//! A request passes `serve` (who asks, what is named), then `read`, `watching` or `write`; everything they decide with is pure and has a
//! file of its own. Invariants: a write is answered after its durable commit; a no-op write keeps the resourceVersion; templates (native
//! kinds) are kept as Manifests and have no effect on the hub. Deliberately absent: TLS (the listener's), server-side apply (415),
//! garbage collection by owner references, namespaces as anything but names.

mod advice;
pub mod catalogue;
pub mod discovery;
pub mod failure;
pub mod identity;
pub mod live;
mod meta;
pub mod openapi;
mod patch;
mod projection;
pub mod protobuf;
mod read;
mod request;
mod respond;
mod review;
pub mod rfc3339;
mod rows;
mod scale;
mod schema;
mod selector;
mod serve;
mod state;
pub mod strategic;
pub mod table;
mod target;
pub mod types;
pub mod users;
mod warnings;
mod watching;
mod write;

use axum::Router;

pub use identity::{Authenticator, Identity};
pub use projection::manifest_name;
pub use state::{ApiState, DEFAULT_MEMBER_LIMIT};
pub use target::RESERVED_NAMESPACE;

/// The API as a service; requests carry a bearer token, or an [`Identity`] as extension when they come from this process.
pub fn router(state: ApiState) -> Router {
    Router::new().fallback(serve::serve).with_state(state)
}

/// A Kubernetes client that talks to the API in this process as `identity`, without a socket.
pub fn client(state: &ApiState, identity: Identity) -> kube::Client {
    kube::Client::new(router(state.clone()).layer(axum::Extension(identity)), "default")
}
