//! A TCP proxy that cuts, holds or swallows what a server sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

const PASS: u8 = 0;
const HOLD: u8 = 1;
const SWALLOW: u8 = 2;

/// The proxy runs until its runtime ends.
pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

struct State {
    mode: AtomicU8,
    /// The bytes that the server may still send before the connection is cut. Negative: any number.
    cut_after: AtomicI64,
}

impl Proxy {
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let state = Arc::new(State {
            mode: AtomicU8::new(PASS),
            cut_after: AtomicI64::new(-1),
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
                    continue;
                };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(forward(from_client, to_server));
                tokio::spawn(forward_replies(from_server, to_client, Arc::clone(&shared)));
            }
        });
        Self { port, state }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Passes this number of bytes from the server, and then closes that connection. Later
    /// connections pass everything.
    pub fn cut_after(&self, bytes: i64) {
        self.state.cut_after.store(bytes, Ordering::SeqCst);
    }

    /// Keeps what the server sends until [`pass`](Self::pass).
    pub fn hold(&self) {
        self.state.mode.store(HOLD, Ordering::SeqCst);
    }

    /// Reads and drops what the server sends, as on a connection that is half open.
    pub fn swallow(&self) {
        self.state.mode.store(SWALLOW, Ordering::SeqCst);
    }

    pub fn pass(&self) {
        self.state.mode.store(PASS, Ordering::SeqCst);
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn forward_replies(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: Arc<State>) {
    let mut buffer = [0; 4096];
    // A connection that has lost bytes is broken for good.
    let mut has_swallowed = false;
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        while state.mode.load(Ordering::SeqCst) == HOLD {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        has_swallowed |= state.mode.load(Ordering::SeqCst) == SWALLOW;
        if has_swallowed {
            continue;
        }
        let left = state.cut_after.load(Ordering::SeqCst);
        if left < 0 {
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
            continue;
        }
        let passed = usize::try_from(left).unwrap_or(0).min(read);
        let _ = to.write_all(&buffer[..passed]).await;
        if passed < read || left == 0 {
            state.cut_after.store(-1, Ordering::SeqCst);
            return;
        }
        let rest = left - i64::try_from(passed).unwrap_or(0);
        state.cut_after.store(rest, Ordering::SeqCst);
    }
}
