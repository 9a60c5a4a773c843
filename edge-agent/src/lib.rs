//! clusternet-agent. Read `app` first: it builds everything and starts it.

pub mod cache;
pub mod cluster;
pub mod link;
