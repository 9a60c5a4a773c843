//! What the hub decides, without a client, a clock or a task: the same inputs give the same answers, in the same order.
//!
//! `index` holds what the controllers have seen and says which clusters' desired lists changed (`placement` binds, `render` makes
//! bytes, `overrides` says what one cluster gets differently, `plan` resolves claims). `guard` says which removals wait for a person.
//! `outcome` holds what agents reported and says what each status should be; `events` says what of their changes is told. `registry`
//! answers registration requests, once `enrol` has said who may make them. `node_labels` says which labels a ManagedCluster gets from its nodes, and
//! `reserved` which ones no cluster may give itself.

pub mod contact;
pub mod enrol;
pub mod events;
pub mod guard;
pub mod id;
pub mod index;
pub mod node_labels;
pub mod outcome;
pub mod overrides;
pub mod placement;
pub mod plan;
pub mod registry;
pub mod render;
pub mod report;
pub mod reserved;
pub mod selector;

#[cfg(test)]
pub(crate) mod build;
