//! clusternet-agent. Read `app` first: it builds everything and starts it.
//!
//! Two threads: the runtime (link, member) and the engine (state machine and cache).

pub mod apiserver;
pub mod app;
pub mod cache;
pub mod cluster;
pub mod config;
pub mod doorbell;
pub mod drift;
pub mod engine;
pub mod enrol;
pub mod failpoint;
pub mod link;
pub mod member;
pub mod probe;
pub mod proxy;
pub mod registration;
pub mod renewal;
pub mod telemetry;
pub mod trust;
pub mod unregister;
pub mod vault;
mod view;
