//! Whom the agent believes, and how it shows who it is: the hub's CA, its own key and certificate, and the time by which they are judged.

pub mod clock;
pub mod identity;
pub mod token;
pub mod verify;
