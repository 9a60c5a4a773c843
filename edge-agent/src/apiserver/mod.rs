//! The member's API server: where it is, as whom the agent speaks there, and connections to it.
//!
//! `kubeconfig` is pure; `access` reads what it names, `credentials` and `tls` keep what may change (tokens, certificates, CAs), `plugin`
//! runs what a kubeconfig may ask for. No typed client is used: the agent sends and reads bytes, and stays small (docs/adr/0016).

mod access;
mod answer;
mod body;
mod connection;
mod credentials;
mod kubeconfig;
mod plugin;
mod pool;
mod proxy;
mod server;
mod tls;
mod yaml;

pub use access::{Access, Unusable};
pub use answer::AnswerBody;
pub use body::{Feed, RequestBody, channel};
pub use connection::{BoxIo, Connection, Tls, Unanswered, Unconnected, dial};
pub use credentials::Credentials;
pub use pool::{IDLE_TIMEOUT, Pool, send};
pub use server::{As, Server};
pub use tls::{Identity, Roots, Trust};
