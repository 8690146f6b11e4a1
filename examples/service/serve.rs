//! The HTTP server: bounded connections, with a time limit on headers and bodies.
//!
//! `axum::serve` has neither, so one client that sends half a request would hold a connection, and
//! a shutdown, forever.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// The time for the headers of a request. It also ends idle connections.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of a body.
const MAX_BODY: usize = 64 << 10;

pub(crate) struct Server {
    app: Router,
    connections: Arc<Semaphore>,
}

impl Server {
    pub(crate) fn new(app: Router, max_connections: usize) -> Self {
        Self {
            app,
            connections: Arc::new(Semaphore::new(max_connections)),
        }
    }

    /// Accepts connections until `stop` ends. Returns the handle that waits for the open ones.
    pub(crate) async fn accept_until(
        &self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> GracefulShutdown {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT);
        let open = GracefulShutdown::new();
        tokio::pin!(stop);
        loop {
            let (stream, permit) = tokio::select! {
                () = &mut stop => return open,
                accepted = self.accept(&listener) => accepted,
            };
            let service = TowerToHyperService::new(self.app.clone());
            let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!("connection closed: {error}");
                }
                drop(permit);
            });
        }
    }

    /// Waits for a permit first, so that further connections stay in the backlog of the system.
    async fn accept(&self, listener: &TcpListener) -> (TcpStream, OwnedSemaphorePermit) {
        loop {
            let permit = Arc::clone(&self.connections).acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => return (stream, permit),
                Err(error) => pause_after(&error).await,
            }
        }
    }
}

/// Waits if the process has no free file descriptor. All other errors concern one connection only.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        tracing::error!("cannot accept a connection: {error}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Reads the whole body before the handler runs.
pub(crate) async fn read_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(parts, bytes.into())).await,
        // The other error is a closed connection, which reads no response.
        Ok(Err(_)) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}
