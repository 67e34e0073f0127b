//! Which server to ask, and when to ask another.

use std::future::Future;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::{ClientError, Connection};
use crate::api::witness::NO_DATA;

/// Servers, in the order they are tried.
pub struct Endpoints {
    endpoints: Vec<(String, Endpoint)>,
    command_timeout: Duration,
}

/// Whether asking twice does harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It doesn't.
    Read,
    /// It may: only an answer that says that nothing was done allows it.
    Write,
}

impl Endpoints {
    pub fn new(connection: &Connection) -> Result<Self, ClientError> {
        let endpoint = |text: &String| {
            let url = if text.contains("://") {
                text.clone()
            } else {
                format!("http://{text}")
            };
            let bad =
                |reason: String| ClientError::Usage(format!("--endpoints: {text:?}: {reason}"));
            if url.starts_with("https://") {
                return Err(bad("TLS is not built yet; use http://".into()));
            }
            let endpoint = Endpoint::from_shared(url).map_err(|error| bad(error.to_string()))?;
            Ok((
                text.clone(),
                endpoint.connect_timeout(connection.dial_timeout),
            ))
        };
        Ok(Self {
            endpoints: connection
                .endpoints
                .iter()
                .map(endpoint)
                .collect::<Result<_, _>>()?,
            command_timeout: connection.command_timeout,
        })
    }

    /// Asks one server after the other until one answers.
    pub async fn first<T, F>(
        &self,
        kind: Kind,
        call: impl Fn(Channel) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut failures = Vec::new();
        for (name, endpoint) in &self.endpoints {
            match endpoint.connect().await {
                Err(error) => failures.push(format!("{name}: {}", innermost(&error))),
                Ok(channel) => match self.timed(call(channel)).await {
                    Err(status) if may_ask_another(kind, &status) => {
                        failures.push(format!("{name}: {}", status.message()))
                    }
                    answer => return Ok(answer?),
                },
            }
        }
        Err(ClientError::Unreachable(failures.join("; ")))
    }

    /// One of them.
    pub fn only(&self, name: &str) -> Self {
        let named = self.endpoints.iter().filter(|(it, _)| it == name);
        Self {
            endpoints: named.cloned().collect(),
            command_timeout: self.command_timeout,
        }
    }

    /// Asks each server.
    pub async fn each<T, F>(&self, call: impl Fn(Channel) -> F) -> Vec<(String, Result<T, String>)>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut answers = Vec::new();
        for (name, endpoint) in &self.endpoints {
            let answer = match endpoint.connect().await {
                Err(error) => Err(innermost(&error)),
                Ok(channel) => self
                    .timed(call(channel))
                    .await
                    .map_err(|status| status.message().to_owned()),
            };
            answers.push((name.clone(), answer));
        }
        answers
    }

    /// Whatever a server is asked for, it gets no longer than the user will wait.
    pub async fn timed<T>(
        &self,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        match tokio::time::timeout(self.command_timeout, call).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::deadline_exceeded(
                "no answer in time; a write may or may not have been done",
            )),
        }
    }
}

fn may_ask_another(kind: Kind, status: &Status) -> bool {
    match kind {
        Kind::Read => matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded),
        Kind::Write => {
            let said = status.message();
            said == "etcdserver: no leader" || said.starts_with(NO_DATA)
        }
    }
}

/// tonic's own text is only "transport error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// A request without metadata of its own.
pub fn plain<T: Clone>(request: &T) -> Request<T> {
    Request::new(request.clone())
}
