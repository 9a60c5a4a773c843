//! From an HTTP request to the function that answers it.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, Request, StatusCode, header, request::Parts};
use serde_json::{Value, json};

use super::catalogue::Role;
use super::failure::Failure;
use super::identity::Identity;
use super::request::{self, Options};
use super::target::Target;
use super::{ApiState, discovery, openapi, read, respond, review, rows, watching, write};

/// One request about a named resource.
pub(super) struct Call {
    pub state: ApiState,
    pub target: Target,
    pub parts: Parts,
    pub options: Options,
}

/// Answers any request.
pub async fn serve(State(state): State<ApiState>, request: Request<Body>) -> Response {
    answer(state, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(state: ApiState, request: Request<Body>) -> Result<Response, Failure> {
    let path = request.uri().path().to_owned();
    if matches!(path.as_str(), "/healthz" | "/livez" | "/readyz") {
        return Ok(respond::with_type(StatusCode::OK, "text/plain; charset=utf-8", "ok"));
    }
    let (parts, body) = request.into_parts();
    let identity = match parts.extensions.get::<Identity>() {
        Some(identity) => identity.clone(),
        None => state.authenticator().identify(state.store(), &parts.headers)?,
    };
    if let Some(response) = about_the_api(&state, &path, &parts) {
        return Ok(response);
    }
    let target = Target::parse(&path).ok_or_else(Failure::no_such_path)?;
    let options = Options::parse(parts.uri.query())?;
    let verb = verb(&parts.method, &target, &options)?;
    identity.authorize(verb, target.resource)?;
    let call = Call { state, target, parts, options };
    perform(verb, call, &identity, body).await
}

async fn perform(verb: &'static str, call: Call, identity: &Identity, body: Body) -> Result<Response, Failure> {
    if call.target.resource.role == Role::Virtual {
        let body = request::read_body(body).await?;
        let question = request::decode_object(&call.parts, &body)?;
        let answer = review::answer(call.target.resource, identity, question);
        return Ok(respond::json(StatusCode::CREATED, answer.to_string()));
    }
    match verb {
        "get" if is_rows(&call.target) => rows::list(&call),
        "get" => read::get(&call),
        "list" => read::list(&call).await,
        "watch" => watching::watch(call).await,
        "create" => write::create(&call, &request::read_body(body).await?).await,
        "update" => write::update(&call, &request::read_body(body).await?).await,
        "patch" => write::patch(&call, &request::read_body(body).await?).await,
        "delete" => write::delete(&call, &request::read_body(body).await?).await,
        _ => write::delete_collection(&call).await,
    }
}

fn is_rows(target: &Target) -> bool {
    target.subresource.as_deref().is_some_and(|subresource| rows::has(target.resource, subresource))
}

/// The verb of a request, if the target has it.
fn verb(method: &Method, target: &Target, options: &Options) -> Result<&'static str, Failure> {
    let resource = target.resource;
    let refused = || Failure::not_allowed(format!("the server does not allow {method} on this path of {}", resource.plural));
    match target.subresource.as_deref() {
        None => {}
        Some("status") if resource.status && resource.role == Role::Own => {}
        Some("status") if resource.role == Role::Template => {
            return Err(Failure::not_allowed(format!("{} here is a template for members and has no status", resource.plural)));
        }
        Some("scale") if resource.scale => {}
        Some(rows) if rows::has(resource, rows) => {
            return if method == Method::GET { Ok("get") } else { Err(refused()) };
        }
        Some(_) => return Err(Failure::no_such_path()),
    }
    if resource.role == Role::Virtual {
        return if method == Method::POST && target.name.is_none() { Ok("create") } else { Err(refused()) };
    }
    match (method.as_str(), target.name.is_some()) {
        ("GET", true) if options.watch && target.subresource.is_none() => Ok("watch"),
        ("GET", true) => Ok("get"),
        ("GET", false) if options.watch => Ok("watch"),
        ("GET", false) => Ok("list"),
        ("POST", false) => Ok("create"),
        ("PUT", true) => Ok("update"),
        ("PATCH", true) => Ok("patch"),
        ("DELETE", true) if target.subresource.is_none() => Ok("delete"),
        ("DELETE", false) if !resource.namespaced || target.namespace.is_some() => Ok("deletecollection"),
        _ => Err(refused()),
    }
}

/// Discovery, OpenAPI and version: what is here, not what is stored.
fn about_the_api(state: &ApiState, path: &str, parts: &Parts) -> Option<Response> {
    let known = parts.method == Method::GET;
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let own = |kind: &str| state.schema(kind).cloned();
    let document = match segments.as_slice() {
        _ if !known => return None,
        ["version"] => Some(version()),
        ["api"] => return Some(groups(&parts.headers, true)),
        ["apis"] => return Some(groups(&parts.headers, false)),
        ["api", version] => discovery::api_resources("", version),
        ["apis", group] => discovery::api_group(group),
        ["apis", group, version] => discovery::api_resources(group, version),
        ["openapi", "v3"] => Some(openapi::index(&own)),
        ["openapi", "v3", "api", version] => openapi::document("", version, &own),
        ["openapi", "v3", "apis", group, version] => openapi::document(group, version, &own),
        _ => None,
    };
    Some(respond::json(StatusCode::OK, document?.to_string()))
}

fn groups(headers: &HeaderMap, core: bool) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    for (version, newest) in [("v2", true), ("v2beta1", false)] {
        let media_type = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
        let wanted = |range: &str| range.replace(' ', "") == media_type;
        if accept.split(',').any(wanted) {
            return respond::with_type(StatusCode::OK, &media_type, discovery::aggregated(core, newest).to_string());
        }
    }
    let plain = if core { discovery::api_versions() } else { discovery::api_groups() };
    respond::json(StatusCode::OK, plain.to_string())
}

/// Clients choose features by this: it is the Kubernetes release whose kinds are served.
fn version() -> Value {
    json!({
        "major": "1", "minor": "37", "gitVersion": concat!("v1.37.2+clusternet-hub.", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("linux/{}", std::env::consts::ARCH),
    })
}
