//! clusternet-hub. Read `app` first: it builds everything and starts it.

pub mod alive;
pub mod api;
pub mod app;
pub mod bus;
pub mod cli;
pub mod config;
pub mod controller;
pub mod core;
pub mod enrol;
pub mod folder;
pub mod gateway;
pub mod gating;
pub mod https;
pub mod kinds;
pub mod store;
pub mod sync;
pub mod telemetry;
pub mod tls;
