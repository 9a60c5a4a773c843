//! Shells around `core` that speak to an API server through `kube::Client` only, the embedded one and a parent's alike.
//!
//! `planner` watches and emits desired lists, `registration` answers ClusterRegistrationRequests, `status` writes what became of it
//! all, `keys` lets client keys go, `roster` tells the gate which there are, `events` tells what of that people look for, `expiry` deletes
//! Events that are old, and `labels` gives clusters the labels of their nodes. Each is one `run` that ends when its token is cancelled; what each watch delivers is complete lists first and changes after
//! (`watch`), and nothing is ever deleted because a watch broke.

mod backoff;
pub mod events;
pub mod expiry;
pub mod keys;
pub mod labels;
pub mod latest;
pub mod live;
mod merge;
pub mod planner;
pub mod registration;
pub mod roster;
mod schedule;
pub mod status;
mod templates;
mod watch;
