//! Findings of the monitor as JSON, for a webhook of a chat.

use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use leakproof::monitor::Change;
use serde_json::{Value, json};
use ureq::Agent;

/// Alerts that wait for a slow webhook. Further ones are dropped, and are in the log only.
const MAX_WAITING: usize = 100;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Returns a callback for the monitor that posts each change. A thread posts one after the other,
/// so a webhook that hangs delays neither the monitor nor a message.
pub(crate) fn post_to(url: String) -> impl Fn(&Change) + Send + Sync + 'static {
    let (queue, alerts) = sync_channel::<Value>(MAX_WAITING);
    thread::spawn(move || {
        let agent: Agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .build()
            .into();
        for alert in alerts {
            let post = agent.post(&url).header("content-type", "application/json");
            if let Err(error) = post.send(alert.to_string()) {
                tracing::warn!("cannot post an alert: {error}");
            }
        }
    });
    move |change| {
        // Slack, Mattermost and Google Chat show `text`.
        let (text, finding) = (change.to_string(), change.finding());
        let alert = json!({ "text": text, "change": change.as_str(), "finding": finding });
        if queue.try_send(alert).is_err() {
            tracing::warn!("too many alerts wait, so one is dropped: {change}");
        }
    }
}
