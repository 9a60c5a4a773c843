//! What hub and agent keep on a disk is sealed with a key that is not in the database.
//!
//! ```text
//! sealed value   salt 16 | counter 8 | ciphertext | tag 16          (AES-256-GCM)
//!                key     HMAC-SHA-256(at-rest key, "seal" | salt)
//!                nonce   4 zero bytes | counter
//!                associated data: where the value belongs (table and primary key)
//! ```
//!
//! Invariants
//! - No pair of key and nonce is ever used twice. Each [`Sealer`] draws a salt of its own and counts from 0, so a process that starts again,
//!   also on a restored copy of its disk, seals under another key. Nothing about nonces is stored.
//! - A value opens only in the place that it was sealed for: rows can't be swapped, only set back to what that same row once was.
//! - What must be found again without being read has a blind index: [`Sealer::blind`], an HMAC of it.
//!
//! Absent on purpose: what is in files and tables. Each program decides what of a row is sealed; `docs/security.md` says what stays in clear.

mod key;
mod owner;
mod sealer;
mod spare;
mod wipe;

pub use key::{Key, KeyError, KeyFile, KeyId};
pub use owner::keep_to_owner;
pub use sealer::{OVERHEAD, Sealer, Unreadable};
pub use wipe::{GIVE_BACK_EVERY, Wiping, give_back};
