//! The embedded Kubernetes-style API: what is served, and how each answer looks.

pub mod catalogue;
pub mod discovery;
pub mod openapi;
pub mod protobuf;
pub mod rfc3339;
pub mod strategic;
pub mod table;
pub mod types;
