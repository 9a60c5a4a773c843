//! The wire between hub and agents, and the rules that both ends follow.
//!
//! Nothing here does IO, reads a clock or draws randomness: time and nonces are handed in, frames and decisions come out.
//! Read in this order: [`topic`] (who says what where), [`frame`] (the envelope), [`greeting`] (how its keys are agreed on), [`message`] (the bodies), [`list`] and [`status`]
//! (the two things that are kept equal), [`stamp`] (why something may be deleted), then the two ends, [`link::hub`] and [`link::agent`]; beside them
//! [`stream`], which carries kubectl's requests.
//!
//! | message | way | says |
//! |---|---|---|
//! | `Hello` | up | who runs, which list is stored, which status was last told |
//! | `Welcome` | down | which list shall be, which status is committed, which incarnations are closed |
//! | `Delta` | down | from this list to that one, with what fits |
//! | `Want`, `Content` | up, down | pieces of what did not fit |
//! | `Report` | up | listed, held, and a step of the status table |
//! | `StatusAck` | down | the status table that is committed |
//! | `Confirm` | down | an administrator lets unclaimed objects go |
//! | `StreamOpen`, `StreamData`, `StreamCredit`, `StreamReset` | both | one proxied request, as bytes that survive the link |
//! | `Beat`, `Gone`, `Announce`, `NoSession`, `Reject` | both | life, last will, a new hub, a lost session, a refusal |
//!
//! Version rule: a reader passes over body fields and high flags that it does not know, and refuses low flags and other wire versions;
//! a sender uses only what the peer's `Caps` announced.

pub mod codec;
pub mod facts;
pub mod frame;
pub mod greeting;
pub mod hash;
pub mod health;
pub mod id;
mod key;
pub mod limits;
pub mod link;
pub mod list;
pub mod message;
mod noise;
pub mod order;
mod padding;
pub mod planted;
pub mod secret;
pub mod stamp;
pub mod status;
pub mod stream;
pub mod topic;
pub mod witness;
