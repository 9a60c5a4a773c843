//! Harness of the tests: real servers, real links, independent observers.
//!
//! A test reads like this:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use tests::{App, Member};
//! let member = Member::start("site-a").await?;
//! member.kubectl().apply(&App::load()?.objects())?;
//! member.kubectl().run(["get", "deploy", "-n", "shop"])?;
//! member.site().down()?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`Member`]: a site with its API server, and with a kubelet when asked; [`ControlPlane`] and [`Node`] are its parts.
//! - [`Site`]: a network namespace on a veth pair that can be cut.
//! - [`Shaper`]: a second link of a site with delay, jitter, loss, reordering, a rate, cuts and a NAT that forgets.
//! - [`Process`]: any program, started by [`Launch`], with its log in a file.
//! - [`Kubectl`], [`Watch`], [`Relay`]: the independent observers that decide, instead of our programs' own counters.
//!
//! What is started is gone when its value is dropped, also by a panic; a test run that was killed is swept by the next one.
//! Calls block the thread unless they are `async`: a test that serves something itself needs a multi-threaded runtime.

mod agent;
mod app;
pub mod bus;
mod cache;
mod cgroup;
mod command;
mod containers;
mod control_plane;
mod hostile;
pub mod hostile_http;
mod hub;
mod kubectl;
mod lines;
mod machine;
mod member;
mod net;
mod node;
mod pki;
pub mod planted;
mod platform;
mod process;
mod relay;
mod road;
pub mod sandbox;
mod scratch;
mod shaper;
mod spawner;
pub mod strangers;
mod sweep;
mod through;
mod tls_client;
mod watch;
mod webhook;

pub use agent::Agent;
pub use app::{App, Feed};
pub use cache::{Tool, workspace_program};
pub use control_plane::{ControlPlane, Controllers};
pub use hostile::{Deeds, HostileBroker};
pub use hub::{Hub, Statuses};
pub use kubectl::{Kubectl, KubectlVersion};
pub use lines::log_lines;
pub use machine::{Machine, Put};
pub use member::{Member, MemberBuilder};
pub use net::{LinkBytes, Site};
pub use node::Node;
pub use pki::{Authority, BareKey, Credential};
pub use platform::{Platform, Program};
pub use process::{Launch, Memory, Process};
pub use relay::{Relay, Traffic};
pub use road::{Inventory, Road, condition, is_applied};
pub use scratch::Scratch;
pub use shaper::{Counts, Fates, Shape, Shaper, Way};
pub use sweep::leftovers;
pub use through::Through;
pub use tls_client::TlsClient;
pub use watch::{Event, Watch};
pub use webhook::Webhook;
