//! `Client`: the implementation of `Connection` by the crate `redis`.
//!
//! The only file that names types of that crate, so that it can be replaced.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::sentinel::{Sentinel, SentinelNodeConnectionInfo};
use redis::{AsyncConnectionConfig, Cmd, ConnectionInfo, ErrorKind, IntoConnectionInfo};
use redis::{Pipeline, Value};

use super::command::{Command, Connection, ConnectionError, Reply, Sending};

/// Above every deadline of our own. It only ends calls that no caller waits for any more.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A half-open connection is closed after about this time without an acknowledgement.
const DEAD_AFTER: Duration = Duration::from_secs(10);

/// The address of a server, of a cluster, or of the sentinels that know the server.
#[derive(Clone, Debug)]
pub(super) enum Address {
    Single(String),
    Cluster(Vec<String>),
    Sentinel {
        sentinels: Vec<String>,
        service: String,
        /// The address whose credentials, database and TLS mode the servers expect.
        like: Option<String>,
    },
}

/// The addresses after validation.
enum Target {
    Single(redis::Client),
    Cluster(ClusterClient),
    Sentinel {
        /// The connections to the sentinels, kept between reconnects.
        sentinel: Box<tokio::sync::Mutex<Sentinel>>,
        service: String,
        node: SentinelNodeConnectionInfo,
    },
}

#[derive(Clone)]
enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

pub(super) struct Client {
    target: Target,
    link: Mutex<Option<Link>>,
}

fn failed(error: impl std::fmt::Display) -> ConnectionError {
    ConnectionError::new(error.to_string())
}

/// Returns the error of a connection that was not made.
fn not_connected(error: redis::RedisError) -> ConnectionError {
    let text = error.to_string();
    // The client of a cluster has the error of a node only as text.
    let is_denied = error.kind() == ErrorKind::AuthenticationFailed
        || ["NOAUTH", "WRONGPASS", "authentication failed"]
            .iter()
            .any(|denied| text.contains(denied));
    if is_denied {
        ConnectionError::denied(text)
    } else {
        ConnectionError::new(text)
    }
}

fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(DEAD_AFTER / 2)
        .with_interval(DEAD_AFTER / 5);
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(DEAD_AFTER);
    settings
}

fn info(url: &str) -> Result<ConnectionInfo, ConnectionError> {
    let is_tls = ["rediss:", "valkeys:"]
        .iter()
        .any(|tls| url.starts_with(tls));
    if is_tls && cfg!(not(feature = "redis-tls")) {
        return Err(failed("an address with TLS needs the feature `redis-tls`"));
    }
    let info = url.into_connection_info().map_err(failed)?;
    Ok(info.set_tcp_settings(tcp_settings()))
}

impl Client {
    pub(super) fn new(address: &Address) -> Result<Self, ConnectionError> {
        let infos = |urls: &[String]| {
            urls.iter()
                .map(|url| info(url))
                .collect::<Result<Vec<_>, _>>()
        };
        let target = match address {
            Address::Single(url) => {
                Target::Single(redis::Client::open(info(url)?).map_err(failed)?)
            }
            Address::Cluster(urls) => {
                let builder = ClusterClient::builder(infos(urls)?)
                    .tcp_settings(tcp_settings())
                    .connection_timeout(CONNECT_TIMEOUT)
                    .response_timeout(RESPONSE_TIMEOUT)
                    // The deadline is ours. A few retries follow the slots that move.
                    .retries(3)
                    .max_retry_wait(100);
                Target::Cluster(builder.build().map_err(failed)?)
            }
            Address::Sentinel {
                sentinels,
                service,
                like,
            } => {
                let mut node =
                    SentinelNodeConnectionInfo::default().set_tcp_settings(tcp_settings());
                if let Some(like) = like {
                    let info = info(like)?;
                    if matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. }) {
                        node = node.set_tls_mode(redis::TlsMode::Secure);
                    }
                    node = node.set_redis_connection_info(info.redis_settings().clone());
                }
                Target::Sentinel {
                    sentinel: Box::new(tokio::sync::Mutex::new(
                        Sentinel::build(infos(sentinels)?).map_err(failed)?,
                    )),
                    service: service.clone(),
                    node,
                }
            }
        };
        #[cfg(feature = "redis-tls")]
        // Fails if the application has installed a provider, which then is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            target,
            link: Mutex::new(None),
        })
    }

    async fn connect(&self) -> Result<Link, ConnectionError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let client = match &self.target {
            Target::Single(client) => client.clone(),
            Target::Cluster(client) => {
                let connection = client.get_async_connection().await.map_err(not_connected)?;
                return Ok(Link::Cluster(connection));
            }
            Target::Sentinel {
                sentinel,
                service,
                node,
            } => {
                let mut sentinel = sentinel.lock().await;
                let master = sentinel.async_master_for(service, Some(node)).await;
                master.map_err(not_connected)?
            }
        };
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        Ok(Link::Single(connection.await.map_err(not_connected)?))
    }

    fn link(&self) -> Result<Link, ConnectionError> {
        self.link
            .lock()
            .clone()
            .ok_or_else(|| failed("not connected"))
    }
}

/// Returns the hash by which a server knows a script.
pub(super) fn script_hash(text: &str) -> String {
    redis::Script::new(text).get_hash().to_owned()
}

fn cmd(command: &Command) -> Cmd {
    let mut parts = command.parts();
    let mut cmd = Cmd::new();
    parts.by_ref().for_each(|part| {
        cmd.arg(part);
    });
    cmd
}

/// Converts the result of a call. Only an error without a reply is an error here.
fn reply(result: redis::RedisResult<Value>) -> Result<Reply, ConnectionError> {
    match result {
        Ok(value) => Ok(convert(value)),
        Err(error) if error.is_io_error() || error.code().is_none() => Err(failed(error)),
        Err(error) => {
            let detail = error.detail().unwrap_or_default();
            let code = error.code().unwrap_or_default();
            Ok(Reply::Error(format!("{code} {detail}")))
        }
    }
}

fn convert(value: Value) -> Reply {
    match value {
        Value::Nil => Reply::Nil,
        Value::Int(number) => Reply::Integer(number),
        Value::Boolean(is_true) => Reply::Integer(i64::from(is_true)),
        Value::BulkString(bytes) => Reply::Bytes(bytes),
        Value::SimpleString(text) => Reply::Bytes(text.into_bytes()),
        Value::Okay => Reply::Bytes(b"OK".to_vec()),
        Value::Array(values) | Value::Set(values) => {
            Reply::Array(values.into_iter().map(convert).collect())
        }
        Value::Map(pairs) => {
            let values = pairs.into_iter().flat_map(|(key, value)| [key, value]);
            Reply::Array(values.map(convert).collect())
        }
        Value::ServerError(error) => {
            let detail = error.details().unwrap_or_default();
            Reply::Error(format!("{} {detail}", error.code()))
        }
        other => Reply::Error(format!("ERR unexpected reply: {other:?}")),
    }
}

/// Waits for all futures. Each wake polls those that are not ready.
async fn join_all<T>(futures: Vec<Sending<'_, T>>) -> Result<Vec<T>, ConnectionError> {
    let mut pending: Vec<_> = futures.into_iter().map(Some).collect();
    let mut results: Vec<Option<T>> = pending.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (future, result) in pending.iter_mut().zip(&mut results) {
            let Some(waiting) = future else { continue };
            if let Poll::Ready(ready) = Pin::new(waiting).poll(context) {
                *result = Some(ready?);
                *future = None;
            }
        }
        if pending.iter().all(Option::is_none) {
            Poll::Ready(Ok(results.drain(..).flatten().collect()))
        } else {
            Poll::Pending
        }
    })
    .await
}

impl Connection for Client {
    fn call<'a>(&'a self, command: &'a Command) -> Sending<'a, Reply> {
        Box::pin(async move {
            let cmd = cmd(command);
            reply(match self.link()? {
                Link::Single(mut connection) => connection.req_packed_command(&cmd).await,
                Link::Cluster(mut connection) => connection.req_packed_command(&cmd).await,
            })
        })
    }

    fn call_all<'a>(&'a self, commands: &'a [Command]) -> Sending<'a, Vec<Reply>> {
        Box::pin(async move {
            match self.link()? {
                Link::Single(mut connection) => {
                    let mut pipeline = Pipeline::with_capacity(commands.len());
                    for command in commands {
                        pipeline.add_command(cmd(command));
                    }
                    let replies = connection.req_packed_commands(&pipeline, 0, commands.len());
                    let replies = replies.await.map_err(failed)?;
                    Ok(replies.into_iter().map(convert).collect())
                }
                // A pipeline of a cluster must not leave a slot. Calls in parallel may, and keep
                // the order within a slot.
                Link::Cluster(_) => {
                    join_all(commands.iter().map(|command| self.call(command)).collect()).await
                }
            }
        })
    }

    fn reconnect(&self) -> Sending<'_, ()> {
        Box::pin(async move {
            let link = self.connect().await?;
            let replaced = self.link.lock().replace(link);
            drop(replaced);
            Ok(())
        })
    }
}
