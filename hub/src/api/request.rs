//! What a request asks beside its path: query options, the form of the answer, and the body as JSON.

use axum::body::Body;
use http::{HeaderMap, header, request::Parts};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

use super::failure::Failure;
use super::protobuf;
use super::table::IncludeObject;

/// Bytes of a request body that are read at all; the members' limit is smaller and has its own message.
const BODY_LIMIT: usize = 16 << 20;

/// The query parameters of every verb; unknown ones are ignored, as Kubernetes does.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
    pub limit: usize,
    pub continue_token: Option<String>,
    pub resource_version: Option<u64>,
    pub resource_version_match: Option<String>,
    pub watch: bool,
    pub bookmarks: bool,
    pub send_initial_events: Option<bool>,
    pub timeout_seconds: Option<u64>,
    pub dry_run: bool,
    pub validation: Validation,
    pub include: IncludeObject,
}

/// What happens to fields that the schema does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

impl Options {
    /// Reads the query.
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub fn parse(query: Option<&str>) -> Result<Self, Failure> {
        let mut options = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !value.is_empty() {
                options.set(&name, &value)?;
            }
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        let wrong = || Failure::bad_request(format!("invalid query parameter {name}={value:?}"));
        let flag = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(wrong()),
        };
        match name {
            "labelSelector" => self.label_selector = Some(value.to_owned()),
            "fieldSelector" => self.field_selector = Some(value.to_owned()),
            "limit" => self.limit = value.parse().map_err(|_| wrong())?,
            "continue" => self.continue_token = Some(value.to_owned()),
            "resourceVersion" => self.resource_version = Some(value.parse().map_err(|_| wrong())?),
            "resourceVersionMatch" if matches!(value, "Exact" | "NotOlderThan") => self.resource_version_match = Some(value.to_owned()),
            "watch" => self.watch = flag()?,
            "allowWatchBookmarks" => self.bookmarks = flag()?,
            "sendInitialEvents" => self.send_initial_events = Some(flag()?),
            "timeoutSeconds" => self.timeout_seconds = Some(value.parse().map_err(|_| wrong())?),
            "dryRun" if value == "All" => self.dry_run = true,
            "fieldValidation" => {
                self.validation = match value {
                    "Strict" => Validation::Strict,
                    "Warn" => Validation::Warn,
                    "Ignore" => Validation::Ignore,
                    _ => return Err(wrong()),
                }
            }
            "includeObject" => self.include = IncludeObject::parse(value).ok_or_else(wrong)?,
            "resourceVersionMatch" | "dryRun" => return Err(wrong()),
            _ => {}
        }
        Ok(())
    }
}

/// How the client wants objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Object,
    Table,
    Metadata,
}

impl Form {
    /// The first form of the Accept header that can be given.
    pub fn of(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        for range in accepted {
            let mut parts = range.split(';').map(str::trim);
            if !matches!(parts.next(), Some("application/json" | "*/*" | "application/*")) {
                continue;
            }
            let wanted = parts.find_map(|part| part.strip_prefix("as="));
            match wanted {
                None => return Self::Object,
                Some("Table") => return Self::Table,
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => return Self::Metadata,
                Some(_) => {}
            }
        }
        Self::Object
    }
}

/// The media type of the body, without parameters.
pub fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Reads the whole body.
///
/// # Errors
/// 413 above the limit, 400 when the client stops sending.
pub async fn read_body(body: Body) -> Result<Vec<u8>, Failure> {
    match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes().into()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Failure::too_large(format!("the request body is larger than {BODY_LIMIT} bytes: send the object in smaller parts")))
        }
        Err(error) => Err(Failure::bad_request(format!("the request body could not be read: {error}"))),
    }
}

/// Reads an object from JSON, YAML or Kubernetes protobuf, by content type (JSON when there is none).
///
/// # Errors
/// 400 for a body that is no object, 415 for other types.
pub fn decode_object(parts: &Parts, body: &[u8]) -> Result<Value, Failure> {
    let value: Value = match content_type(&parts.headers) {
        "application/json" | "" | "*/*" => serde_json::from_slice(body).map_err(|error| unreadable("JSON", error))?,
        "application/yaml" | "text/yaml" | "application/x-yaml" => decode_yaml(body)?,
        "application/vnd.kubernetes.protobuf" => protobuf::decode(body).map_err(|error| unreadable("Kubernetes protobuf", error))?,
        other => {
            let accepted = "application/json, application/yaml and application/vnd.kubernetes.protobuf";
            return Err(Failure::unsupported(format!("the body of the request was {other:?}; this server takes {accepted}")));
        }
    };
    if value.is_object() {
        Ok(value)
    } else {
        Err(Failure::bad_request("the request body is not an object: it must have apiVersion, kind and metadata"))
    }
}

/// Reads YAML (hence JSON too).
///
/// # Errors
/// 400 with the place of the mistake.
pub fn decode_yaml(body: &[u8]) -> Result<Value, Failure> {
    let text = std::str::from_utf8(body).map_err(|error| unreadable("YAML", error))?;
    serde_saphyr::from_str(text).map_err(|error| unreadable("YAML", error))
}

fn unreadable(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::bad_request(format!("the request body is not readable {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &'static str) -> Form {
        Form::of(&HeaderMap::from_iter([(header::ACCEPT, http::HeaderValue::from_static(accept))]))
    }

    #[test]
    fn the_first_form_that_can_be_given_is_given() {
        assert_eq!(form("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), Form::Table);
        assert_eq!(form("application/vnd.kubernetes.protobuf,application/json"), Form::Object);
        assert_eq!(form("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"), Form::Metadata);
        assert_eq!(form("application/json;as=Novel, */*"), Form::Object);
        assert_eq!(Form::of(&HeaderMap::new()), Form::Object);
    }

    #[test]
    fn options_are_read_and_wrong_ones_are_named() {
        let options = Options::parse(Some("watch=true&resourceVersion=5&labelSelector=a+in+%28b%29&dryRun=All&other=x")).expect("options");
        assert!(options.watch && options.dry_run);
        assert_eq!((options.resource_version, options.label_selector.as_deref()), (Some(5), Some("a in (b)")));
        for wrong in ["resourceVersion=x", "watch=perhaps", "fieldValidation=no", "dryRun=Some", "limit=-1"] {
            assert_eq!(Options::parse(Some(wrong)).expect_err(wrong).code, 400);
        }
    }
}
