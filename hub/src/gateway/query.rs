//! What the gateway takes out of a query, and what of it may be logged.

use std::time::Duration;

use form_urlencoded::parse;

use crate::cli::duration;

/// The longest that a request may wait for its cluster to come back.
pub const MAX_WAIT: Duration = Duration::from_secs(300);

/// Names whose values say what was done and never hold a secret; of all others only the name is logged.
const LOGGED: [&str; 29] = [
    "allowWatchBookmarks",
    "container",
    "dryRun",
    "fieldManager",
    "fieldSelector",
    "fieldValidation",
    "follow",
    "force",
    "gracePeriodSeconds",
    "labelSelector",
    "limit",
    "limitBytes",
    "orphanDependents",
    "ports",
    "pretty",
    "previous",
    "propagationPolicy",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "sinceSeconds",
    "stderr",
    "stdin",
    "stdout",
    "tailLines",
    "timeoutSeconds",
    "timestamps",
    "tty",
    "watch",
];

/// How long to wait for the cluster, and the query without that; what is left is as the client sent it.
///
/// Only `wait=` with a duration is the gateway's.
pub fn take_wait(query: Option<&str>) -> (Option<Duration>, Option<String>) {
    let Some(query) = query else { return (None, None) };
    let waits = |pair: &str| duration::parse(pair.strip_prefix("wait=")?).ok();
    let wait = query.split('&').filter_map(waits).max();
    if wait.is_none() {
        return (None, Some(query.to_owned()));
    }
    let rest: Vec<&str> = query.split('&').filter(|pair| waits(pair).is_none()).collect();
    (wait.map(|wait| wait.min(MAX_WAIT)), Some(rest.join("&")).filter(|rest| !rest.is_empty()))
}

/// A query as it may be logged, without the parts of a command.
pub fn shown(query: &str) -> String {
    let pairs = parse(query.as_bytes()).filter(|(name, _)| name != "command");
    let shown = pairs.map(|(name, value)| if LOGGED.contains(&name.as_ref()) { format!("{name}={value}") } else { format!("{name}=-") });
    shown.collect::<Vec<_>>().join("&")
}

/// What an exec is to run.
pub fn command(query: &str) -> Vec<String> {
    parse(query.as_bytes()).filter(|(name, _)| name == "command").map(|(_, value)| value.into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_duration_to_wait_is_taken_out() {
        let taken = |query| {
            let (wait, rest) = take_wait(Some(query));
            (wait.map(|wait| wait.as_secs()), rest)
        };
        assert_eq!(taken("wait=30s"), (Some(30), None));
        assert_eq!(taken("a=%20+&wait=2m&b"), (Some(120), Some("a=%20+&b".into())));
        assert_eq!(taken("wait=9d"), (Some(300), None), "bounded");
        assert_eq!(taken("wait=true&await=1s"), (None, Some("wait=true&await=1s".into())));
        assert_eq!(take_wait(None), (None, None));
    }

    #[test]
    fn values_are_logged_by_a_closed_list_of_names() {
        let query = "command=sh&command=-c&command=ls+%2F&container=web&tty=true&token=s3cret&access_token=s3cret&x";
        assert_eq!(shown(query), "container=web&tty=true&token=-&access_token=-&x=-");
        assert_eq!(command(query), ["sh", "-c", "ls /"]);
        assert!(LOGGED.is_sorted());
    }
}
