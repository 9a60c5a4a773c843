//! The agent's hands: everything that is done on the member's own API server.
//!
//! No Kubernetes types but a few own structs; an object is parsed one at a time and dropped. Nothing here remembers what is
//! ours: the caller's inventory decides what to apply and delete, this folder makes sure that only what carries our
//! mark is changed or removed.

pub mod api;
pub mod apply;
pub mod autoscaler;
pub mod connect;
mod contents;
pub mod crd;
pub mod delete;
pub mod discovery;
pub mod facts;
pub mod failure;
pub mod health;
mod list;
mod managed_fields;
pub mod object;
pub mod outcome;
mod owner;
pub mod projection;
pub mod quantity;
pub mod secret;
mod served;
pub mod survey;
pub mod watch;
