//! What a client is told of a stream that ended before its answer began.

use std::io;
use std::time::Duration;

use http::Method;
use streams::{Code, MAX_HEAD, StreamError};

use super::members::unavailable;
use crate::api::failure::Failure;

/// The refusal for a stream that broke with `error`; `cluster` for the sentence.
pub fn failure(error: &io::Error, method: &Method, cluster: &str) -> Failure {
    if error.kind() == io::ErrorKind::InvalidInput {
        return Failure::new(
            431,
            "RequestHeaderFieldsTooLarge",
            format!("path and headers are larger than the {MAX_HEAD} bytes that cross"),
        );
    }
    let (code, why) = match StreamError::of(error) {
        Some(found) => (found.code, found.message.as_str()),
        None => (Code::Failed, "the agent ended the stream without an answer"),
    };
    let harmless = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    match code {
        Code::Refused => unavailable(&format!("the agent of {cluster} refused the request: {why}"), Some(Duration::from_secs(1))),
        Code::Lost if harmless => Failure::new(504, "Timeout", format!("the link to {cluster} did not come back: {why}")),
        Code::Lost => Failure::new(504, "Timeout", format!("the link to {cluster} did not come back: {UNKNOWN}")),
        Code::Restarted | Code::Gone if harmless => unavailable(&format!("the agent of {cluster} has started again: {why}"), None),
        _ if harmless => Failure::new(502, "InternalError", format!("no answer from {cluster}: {why}")),
        _ => Failure::new(502, "InternalError", format!("no answer from {cluster} ({why}): {UNKNOWN}")),
    }
}

const UNKNOWN: &str = "outcome unknown: the request may have been carried out, look before you repeat it";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: Code, method: Method) -> (u16, bool) {
        let error = StreamError { code, message: "why".into() }.into();
        let failure = failure(&error, &method, "ns/a");
        (failure.code, failure.message.contains("outcome unknown"))
    }

    #[test]
    fn only_what_changes_nothing_has_a_known_outcome_when_its_answer_is_lost() {
        assert_eq!((of(Code::Lost, Method::GET), of(Code::Lost, Method::POST)), ((504, false), (504, true)));
        assert_eq!((of(Code::Restarted, Method::HEAD), of(Code::Restarted, Method::PATCH)), ((503, false), (502, true)));
        assert_eq!((of(Code::Failed, Method::GET), of(Code::Failed, Method::DELETE)), ((502, false), (502, true)));
        assert_eq!(of(Code::Refused, Method::POST), (503, false), "nothing was done");
        let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(failure(&eof, &Method::PUT, "ns/a").code, 502);
        assert_eq!(failure(&io::Error::from(io::ErrorKind::InvalidInput), &Method::GET, "ns/a").code, 431);
    }
}
