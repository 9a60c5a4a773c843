//! How many descriptors this process may have: each connection and each stream of kubectl takes one or two.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes as many as the system lets a process have. The soft limit is often 1,024, for the sake of programs that use `select`; `u64::MAX`
/// stands for no limit.
pub fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // What is refused, as by a filter of system calls, leaves what there is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(256), ..before }).unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, Some(256));
        assert_eq!(raise(), before.maximum.unwrap_or(u64::MAX));
        assert_eq!(raise(), before.maximum.unwrap_or(u64::MAX), "it stays so");
    }
}
