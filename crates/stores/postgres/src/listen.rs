//! Hearing of messages that other processes put into queues.

use crate::query::Conn;
use crate::store::Inner;
use async_trait::async_trait;
use futures_util::future::poll_fn;
use martlet_store::QueueName;
use martlet_store::engine::Closing;
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, Config, Error, Socket};

/// How long to wait before connecting again.
const AGAIN: Duration = Duration::from_secs(1);

/// The time between two words to others.
const PAUSE: Duration = Duration::from_millis(20);

/// A word to whoever listens, in one statement. It need not survive a crash of the server.
pub(crate) const NOTIFY: &str = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, '')";

/// Makes the connection that listens.
#[async_trait]
pub(crate) trait Connect: Send + Sync {
    /// Each notification is sent as `()`; the receiver ends with the connection.
    async fn connect(&self) -> Result<(Client, mpsc::UnboundedReceiver<()>), Error>;
}

pub(crate) struct Tls<T>(pub(crate) Config, pub(crate) T);

#[async_trait]
impl<T> Connect for Tls<T>
where
    T: MakeTlsConnect<Socket> + Clone + Sync + Send + 'static,
    T::Stream: Sync + Send + 'static,
    T::TlsConnect: Sync + Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    async fn connect(&self) -> Result<(Client, mpsc::UnboundedReceiver<()>), Error> {
        let (client, mut connection) = self.0.connect(self.1.clone()).await?;
        let (tell, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            // Ends when the client is dropped or the connection breaks; the receiver then sees the end.
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if matches!(message, AsyncMessage::Notification(_)) && tell.send(()).is_err() {
                    return;
                }
            }
        });
        Ok((client, heard))
    }
}

/// Wakes those who wait whenever a notification comes, until the store is gone.
pub(crate) async fn run(
    inner: Weak<Inner>,
    connect: Arc<dyn Connect>,
    channel: String,
    left: Arc<Notify>,
    mut closing: Closing,
) {
    loop {
        let listen = async {
            let (client, mut heard) = connect.connect().await?;
            client.batch_execute(&format!("LISTEN \"{channel}\"")).await?;
            // What came while nobody listened may be waiting.
            loop {
                let Some(inner) = inner.upgrade() else { return Ok(()) };
                inner.waiters.wake();
                drop(inner);
                if heard.recv().await.is_none() {
                    return Ok::<(), Error>(());
                }
            }
        };
        tokio::select! {
            () = closing.closed() => return,
            // Without it those who wait look again every few seconds: that is slower, not wrong.
            _ = listen => {}
            () = left.notified() => {}
        }
        tokio::select! {
            () = closing.closed() => return,
            () = martlet_base::Clock::system().sleep(AGAIN) => {}
        }
    }
}

/// Tells other processes of queues that were touched: what came together is told together, and no commit waits for it.
pub(crate) async fn announce(
    inner: Weak<Inner>,
    channel: String,
    mut touched: mpsc::UnboundedReceiver<QueueName>,
) {
    while let Some(first) = touched.recv().await {
        let mut names = BTreeSet::from([first]);
        while let Ok(name) = touched.try_recv() {
            names.insert(name);
        }
        let Some(inner) = inner.upgrade() else { return };
        if let Ok(client) = inner.pool.get().await {
            // One word for all of them: whoever waits looks by itself, and whoever does not hear of it looks again soon.
            let _ = Conn::pooled(&client, inner.prepared).query(&inner.notify, &[&channel]).await;
        }
        drop(inner);
        // What comes meanwhile is told together: a word for each of a thousand commits a second would cost as much as they do.
        martlet_base::Clock::system().sleep(PAUSE).await;
    }
}
