//! What the owner of a member lets the hub do through it.

use std::path::PathBuf;

use super::allow::Allow;
use super::deny::Deny;

/// Requests that are performed at once. Each has a socket, where some systems give a process 1,024 descriptors, and some 40 KiB of memory.
pub const AT_ONCE: usize = 500;

/// The proxy's settings; the default opens nothing but the API server, and denies nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub allow: Vec<Allow>,
    pub deny: Vec<Deny>,
    /// CAs of the servers beside the API server, PEM; without it the system's.
    pub ca: Option<PathBuf>,
    /// Requests that are performed at once.
    pub at_once: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { allow: Vec::new(), deny: Vec::new(), ca: None, at_once: AT_ONCE }
    }
}
