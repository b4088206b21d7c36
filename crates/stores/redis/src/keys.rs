//! The keys of a store. All carry one hash tag, so that a cluster keeps them in one slot and a script may touch all of them.

use martlet_store::{LogId, QueueName};

#[derive(Clone, Debug)]
pub(crate) struct Keys {
    tag: String,
    /// The numbers of the last version and the last message.
    pub(crate) numbers: String,
    /// Version, expiry and value by key; the keys in their order; and the times of those that expire.
    pub(crate) cells: String,
    pub(crate) cell_order: String,
    pub(crate) cell_expiry: String,
    /// Token, end and owner by key.
    pub(crate) leases: String,
    /// What is known of each log; the logs in their order; and those of them that are not sealed.
    pub(crate) logs: String,
    pub(crate) log_order: String,
    pub(crate) log_open: String,
    /// The names of all queues in their order.
    pub(crate) queues: String,
    /// Where it is told that a queue was touched.
    pub(crate) channel: String,
}

/// The keys of one queue.
#[derive(Clone, Debug)]
pub(crate) struct QueueKeys {
    /// Everything but the body, and the body, by number.
    pub(crate) items: String,
    pub(crate) bodies: String,
    /// Numbers of what is not buried, and of what is.
    pub(crate) live: String,
    pub(crate) buried: String,
    /// Numbers in the order in which they are received, and by the time at which they can be.
    pub(crate) ready: String,
    pub(crate) flight: String,
    pub(crate) delayed: String,
    /// By order key: whoever is offered or in flight, then the blocked ones.
    pub(crate) order: String,
    /// Message and end by dedup key, and the keys by their end.
    pub(crate) dedup: String,
    pub(crate) dedup_end: String,
    pub(crate) counts: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        let tag = format!("{{{prefix}}}");
        let key = |name: &str| format!("{tag}:{name}");
        Self {
            numbers: key("numbers"),
            cells: key("cells"),
            cell_order: key("cell-order"),
            cell_expiry: key("cell-expiry"),
            leases: key("leases"),
            logs: key("logs"),
            log_order: key("log-order"),
            log_open: key("log-open"),
            queues: key("queues"),
            channel: key("touched"),
            tag,
        }
    }

    pub(crate) fn quota(&self, name: &str) -> String {
        format!("{}:quota:{name}", self.tag)
    }

    /// The records of a log. No name holds a zero byte, so no two logs share a key.
    pub(crate) fn log(&self, log: &LogId) -> String {
        format!("{}:log:{}\0{}", self.tag, log.kind(), log.id())
    }

    pub(crate) fn queue(&self, name: &QueueName) -> QueueKeys {
        let key = |part: &str| format!("{}:queue:{name}:{part}", self.tag);
        QueueKeys {
            items: key("items"),
            bodies: key("bodies"),
            live: key("live"),
            buried: key("buried"),
            ready: key("ready"),
            flight: key("flight"),
            delayed: key("delayed"),
            order: key("order"),
            dedup: key("dedup"),
            dedup_end: key("dedup-end"),
            counts: key("counts"),
        }
    }
}
