//! What a program does by hand so that many who wait share one write.

use crate::rounds::tasks;
use crate::{Outcome, body};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// One task that takes whatever waits into one write and answers each waiter.
#[derive(Clone)]
pub(crate) struct Batcher(mpsc::UnboundedSender<(Bytes, oneshot::Sender<()>)>);

impl Batcher {
    pub(crate) fn start<F>(write: impl Fn(Vec<Bytes>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send,
    {
        let (send, mut jobs) = mpsc::unbounded_channel::<(Bytes, oneshot::Sender<()>)>();
        tokio::spawn(async move {
            while let Some((body, reply)) = jobs.recv().await {
                let (mut bodies, mut replies) = (vec![body], vec![reply]);
                while bodies.len() < 256 {
                    let Ok((body, reply)) = jobs.try_recv() else { break };
                    bodies.push(body);
                    replies.push(reply);
                }
                // Whoever waits is told of a failure by the end of the channel.
                let Ok(()) = write(bodies).await else { return };
                for reply in replies {
                    let _ = reply.send(());
                }
            }
        });
        Self(send)
    }

    /// What so many waiters get done with it.
    pub(crate) async fn fill(&self, waiters: usize, seconds: f64) -> Outcome<f64> {
        let (batcher, body) = (self.clone(), body());
        let once = move || {
            let (batcher, body) = (batcher.clone(), body.clone());
            async move { batcher.enqueue(body).await }
        };
        tasks(waiters, seconds, once).await
    }

    pub(crate) async fn enqueue(&self, body: Bytes) -> Outcome<usize> {
        let (reply, answer) = oneshot::channel();
        self.0.send((body, reply))?;
        answer.await?;
        Ok(1)
    }
}
