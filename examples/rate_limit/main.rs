//! A limit of messages per chat, as a tower layer in front of an axum handler, for any number of
//! chats in bounded memory.
//!
//! ```text
//! cargo run --features governor --example rate_limit
//! curl -d hi localhost:8080/chats/7/messages
//! curl localhost:8080/stats
//! ```
//!
//! With `--flood`, it measures a flood of new chats instead:
//!
//! ```text
//! cargo run --release --features governor --example rate_limit -- --flood 10000000
//! ```

mod flood;

use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, serve};
use clap::Parser;
use example_support::output::print;
use example_support::{Result, exit};
use governor::clock::{Clock, DefaultClock};
use governor::{Quota, RateLimiter};
use leakproof::governor::BoundedStateStore;
use tokio::net::TcpListener;

/// Takes messages by HTTP, and limits them per chat.
#[derive(Parser)]
#[command(name = "rate_limit")]
struct Options {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8080")]
    address: String,
    /// Messages of a chat that may arrive at once, and that are replenished within a minute
    #[arg(long, default_value = "20")]
    per_minute: NonZeroU32,
    /// The chats that are limited at a time. If all of them are active, messages of others are
    /// rejected
    #[arg(long, default_value = "100000")]
    max_chats: usize,
    /// Checks this many new chats, and prints memory and answers, instead of listening
    #[arg(long)]
    flood: Option<u64>,
}

type Limiter = RateLimiter<u64, BoundedStateStore<u64>, DefaultClock>;

#[tokio::main]
async fn main() -> ExitCode {
    exit("rate_limit", run(&Options::parse()).await)
}

async fn run(options: &Options) -> Result<()> {
    let quota = Quota::per_minute(options.per_minute);
    let builder = BoundedStateStore::builder();
    let chats = builder
        .max_entries(options.max_chats)
        .quota(quota)
        .build()?;
    if let Some(keys) = options.flood {
        return flood::run(&chats, keys);
    }
    let limiter = Arc::new(chats.limiter(DefaultClock::default()));
    let app = Router::new()
        .route("/chats/{chat}/messages", post(receive))
        .route_layer(from_fn_with_state(limiter, limit_chat))
        .route("/stats", get(async move || chats.stats().to_string()));
    let listener = TcpListener::bind(&options.address).await?;
    print(format_args!(
        "listening on http://{}\n",
        listener.local_addr()?
    ))?;
    Ok(serve(listener, app).await?)
}

/// Runs the handler if the chat's quota allows it. Otherwise answers with the seconds to wait.
async fn limit_chat(
    State(limiter): State<Arc<Limiter>>,
    Path(chat): Path<u64>,
    request: Request,
    next: Next,
) -> Response {
    let Err(denied) = limiter.check_key(&chat) else {
        return next.run(request).await;
    };
    let wait = denied.wait_time_from(limiter.clock().now());
    // The header has whole seconds, rounded up.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let headers = [(RETRY_AFTER, seconds.to_string())];
    (
        StatusCode::TOO_MANY_REQUESTS,
        headers,
        "too many messages\n",
    )
        .into_response()
}

async fn receive(text: String) -> String {
    format!("you said: {text}\n")
}
