//! The HTTP server: bounded connections, with a time limit on headers and bodies.
//!
//! `axum::serve` has neither, so one client that sends half a request would hold a connection, and
//! a shutdown, forever.

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
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// The time for the headers of a request, and for its body. It also ends idle connections.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of a body.
const MAX_BODY: usize = 64 << 10;

/// Accepts connections until `stop` ends. Returns the handle that waits for the open ones.
pub(crate) async fn accept_until(
    stop: impl Future<Output = ()>,
    listener: TcpListener,
    max_connections: usize,
    app: Router,
) -> GracefulShutdown {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(TIMEOUT);
    let (open, permits) = (
        GracefulShutdown::new(),
        Arc::new(Semaphore::new(max_connections)),
    );
    tokio::pin!(stop);
    loop {
        // First, so that further connections stay in the backlog of the system.
        let permit = Arc::clone(&permits).acquire_owned();
        let (permit, stream) = tokio::select! {
            () = &mut stop => return open,
            accepted = async { (permit.await, accept(&listener).await) } => accepted,
        };
        let service = TowerToHyperService::new(app.clone());
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            let _permit = permit;
            connection.await
        });
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // The process may have no free file descriptor.
            Err(error) => tracing::error!("cannot accept a connection: {error}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Reads the whole body before the handler runs.
pub(crate) async fn read_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match timeout(TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(parts, bytes.into())).await,
        // The other error is a closed connection, which reads no response.
        Ok(Err(_)) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}
