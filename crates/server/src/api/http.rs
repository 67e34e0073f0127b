//! Plain HTTP beside gRPC: health, version, and an answer for everything that isn't there.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tonic::Code;

use super::witness::Witness;
use super::{Api, ETCD_VERSION};

const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// In etcd's words.
const NO_LEADER: &str = "RAFT NO LEADER";

/// Adds the pages, and what holds for every answer.
pub fn add(router: Router, api: Arc<Api>) -> Router {
    let pages = Router::new()
        .route("/health", get(health))
        .route("/version", get(version))
        .with_state(api);
    router
        .merge(pages)
        .fallback(missing)
        .layer(map_response(remap_oversized))
}

/// A witness's: it is healthy when it knows a leader.
pub fn add_to_witness(router: Router, witness: Arc<Witness>) -> Router {
    let health = |State(witness): State<Arc<Witness>>, request: Request| async move {
        let status = witness.status();
        let is_well = asks_locally(&request) || status.leader.is_some();
        health_page(if is_well { "" } else { NO_LEADER })
    };
    let missing = |State(witness): State<Arc<Witness>>, request: Request| async move {
        match is_grpc(request.headers()) {
            true => witness.no_data().into_http::<axum::body::Body>(),
            false => no_page(&request),
        }
    };
    let pages = Router::new()
        .route("/health", get(health))
        .route("/version", get(version))
        .fallback(missing)
        .with_state(witness);
    router.merge(pages)
}

fn asks_locally(request: &Request) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|part| part == "serializable=true")
}

async fn health(State(api): State<Arc<Api>>, request: Request) -> Response {
    let local = asks_locally(&request);
    let reason = if !local && api.engine.status().leader.is_none() {
        NO_LEADER.to_owned()
    } else if local {
        String::new()
    } else {
        match tokio::time::timeout(HEALTH_TIMEOUT, api.engine.barrier()).await {
            Ok(Ok(())) => String::new(),
            Ok(Err(status)) => format!("RANGE ERROR:{}", status.message()),
            Err(_) => "RANGE ERROR:etcdserver: request timed out".to_owned(),
        }
    };
    health_page(&reason)
}

/// Without a reason against it, healthy.
fn health_page(reason: &str) -> Response {
    let healthy = reason.is_empty();
    let code = if healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json_page(
        code,
        &json!({"health": healthy.to_string(), "reason": reason}),
    )
}

async fn version() -> Response {
    let page = json!({
        "etcdserver": ETCD_VERSION,
        "etcdcluster": ETCD_VERSION,
        "little-raft": env!("CARGO_PKG_VERSION"),
    });
    json_page(StatusCode::OK, &page)
}

fn json_page(code: StatusCode, page: &serde_json::Value) -> Response {
    (
        code,
        [(header::CONTENT_TYPE, "application/json")],
        page.to_string(),
    )
        .into_response()
}

async fn missing(request: Request) -> Response {
    if !is_grpc(request.headers()) {
        return no_page(&request);
    }
    let text = format!(
        "{} is not built yet: this version serves KV, Cluster, Maintenance.Status and Maintenance.MoveLeader",
        request
            .uri()
            .path()
            .trim_start_matches('/')
            .replace('/', ".")
    );
    tonic::Status::unimplemented(text).into_http::<axum::body::Body>()
}

fn no_page(request: &Request) -> Response {
    let path = request.uri().path();
    let text = format!("no page {path} here: try /health or /version, or speak gRPC\n");
    (StatusCode::NOT_FOUND, text).into_response()
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// tonic answers a message over the limit with OUT_OF_RANGE, which clients take for a compacted revision. Here it is
/// what etcd answers.
async fn remap_oversized(mut response: Response) -> Response {
    let headers = response.headers_mut();
    if headers.get("grpc-status").is_none_or(|code| code != "11") {
        return response;
    }
    let text = headers
        .get("grpc-message")
        .and_then(|text| text.to_str().ok())
        .unwrap_or_default();
    if !text.contains("decoded%20message%20length%20too%20large") {
        return response;
    }
    let text = text.replace("%20", " ");
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty());
    let (found, limit) = (numbers.next().unwrap_or("?"), numbers.next().unwrap_or("?"));
    let text =
        format!("grpc:%20received%20message%20larger%20than%20max%20({found}%20vs.%20{limit})");
    if let Ok(text) = HeaderValue::try_from(text) {
        headers.insert("grpc-message", text);
    }
    headers.insert(
        "grpc-status",
        HeaderValue::from(Code::ResourceExhausted as i32),
    );
    response
}
