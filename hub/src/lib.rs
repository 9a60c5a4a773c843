//! clusternet-hub. Read `app` first: it builds everything and starts it.

pub mod api;
pub mod bus;
pub mod controller;
pub mod core;
pub mod kinds;
pub mod store;
pub mod sync;
