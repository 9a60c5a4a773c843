//! What a cluster gets differently from a template: Globalizations and Localizations as patches.
//!
//! `parse` reads and checks an override, `order` says which comes first, `variables` fills in what belongs to the cluster, `apply` makes
//! the object. Pure: the same template, overrides and values of the cluster give the same bytes, and say the same of what did not fit.

mod apply;
mod field;
mod order;
mod parse;
#[cfg(test)]
mod tests;
mod variables;

pub use apply::{Failure, Outcome, Step, apply};
pub use order::{OverrideKey, OverrideKind, Place};
pub use parse::{Override, check};
pub use variables::{ClusterValues, Variable};
