//! One hub and some agents in one thread, over a broker that loses, repeats, delays and cuts, everything drawn from one seed.
//!
//! Read in this order: [`world`] (time and events), [`store`] and [`hub`] (what users ask for, one link per cluster), [`edge`] and
//! [`member`] (an agent, its disk, its cluster), [`broker`] (the network) and [`hostile`] (what a bad one does), [`transition`] (what happens to them), [`model`] (what must
//! hold). Nothing here reads a clock or iterates in hash order: the same seed gives the same trace.

pub mod broker;
pub mod counts;
pub mod disk;
pub mod draw;
pub mod edge;
pub mod hostile;
pub mod hub;
pub mod inspect;
pub mod member;
pub mod model;
pub mod object;
pub mod run;
pub mod store;
pub mod streams;
pub mod transition;
pub mod world;
