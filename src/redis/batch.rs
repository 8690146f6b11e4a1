//! `insert_batch`: many ids with one write to the server.

use super::answer::Decided;
use super::command::Reply;
use super::dedup::SharedDedup;
use super::error::SharedError;
use super::recovery::Committed;
use super::script::{self, Held};
use crate::dedup::{Claim, Recorded};

/// Ids per write.
const BATCH: usize = 1_000;

impl SharedDedup<()> {
    pub(super) async fn insert_batch<Q: AsRef<[u8]>>(
        &self,
        ids: impl IntoIterator<Item = Q>,
    ) -> Result<Vec<Decided<bool>>, SharedError> {
        let mut answers = Vec::new();
        let mut ids = ids.into_iter();
        loop {
            let batch: Vec<Q> = ids.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(answers);
            }
            self.insert_some(&batch, &mut answers).await?;
        }
    }

    /// Inserts ids with one write. Each id is claimed in the local tier first, so the second of
    /// equal ids is in flight.
    async fn insert_some<Q: AsRef<[u8]>>(
        &self,
        ids: &[Q],
        answers: &mut Vec<Decided<bool>>,
    ) -> Result<(), SharedError> {
        let inner = &self.inner;
        let first_answer = answers.len();
        let (mut asked, mut first, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for (at, id) in ids.iter().enumerate() {
            answers.push(Decided::local(false));
            let local = match inner.claim_locally(id.as_ref()) {
                Claim::Fresh(ticket) => Some(ticket),
                Claim::Full => None,
                Claim::InFlight { .. } | Claim::Duplicate { .. } => continue,
            };
            let (key, token) = (inner.key(id.as_ref()), script::token());
            first.push(script::record_if_absent(&key, &token, inner.ttl));
            again.push(script::record(&key, &token, inner.ttl, b""));
            asked.push((first_answer + at, local, key, token));
        }
        if asked.is_empty() {
            return Ok(());
        }
        let known = inner.known((), inner.ttl);
        let replies = inner.link.write_all(first, again).await;
        if let Err(failure) = replies {
            inner.degrade(failure, asked.len() as u64)?;
            for (at, local, key, token) in asked {
                let id = ids[at - first_answer].as_ref();
                let is_new = match local {
                    Some(local) => local.commit(known.clone()).is_ok(),
                    None => inner.local.record(id, known.clone()) == Recorded::New,
                };
                answers[at] = Decided::local(is_new);
                if is_new {
                    inner.recovery.add(Committed {
                        key,
                        token,
                        value: Vec::new(),
                        until: known.until,
                    });
                }
            }
            return Ok(());
        }
        for ((at, local, ..), reply) in asked.into_iter().zip(replies.unwrap_or_default()) {
            let is_new = match reply {
                // The reply of a first attempt.
                Reply::Bytes(_) => true,
                Reply::Nil => false,
                reply => Held::read(reply).ok_or(SharedError::ForeignKey)? == Held::Mine,
            };
            inner.answered();
            answers[at] = Decided::shared(is_new);
            if let (true, Some(local)) = (is_new, local) {
                let _ = local.commit(known.clone());
            }
        }
        Ok(())
    }
}
