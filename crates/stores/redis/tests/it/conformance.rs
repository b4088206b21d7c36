use martlet_base::ManualClock;
use martlet_redis::{RedisBuilder, RedisStore};
use martlet_store::conformance::Subject;
use std::sync::Arc;

async fn subject(builder: RedisBuilder) -> Subject {
    let manual = ManualClock::new();
    let store = builder.prefix(crate::prefix("conformance")).clock(manual.clock()).open().await.unwrap();
    Subject::simulated(Arc::new(store), manual)
}

async fn redis() -> Option<Subject> {
    Some(subject(RedisStore::builder(&crate::url()?)).await)
}

martlet_store::cells_conformance!(redis);
martlet_store::leases_conformance!(redis);
martlet_store::logs_conformance!(redis);
martlet_store::queues_conformance!(redis);
martlet_store::batches_conformance!(redis);
martlet_store::model_conformance!(redis);

/// The prefixes are random, so stores lie on all of its nodes; a command that touched two slots would be refused.
#[cfg(feature = "cluster")]
mod cluster {
    use super::{RedisStore, Subject, subject};

    async fn cluster() -> Option<Subject> {
        Some(subject(RedisStore::builder(&crate::cluster_url()?).cluster([""; 0])).await)
    }

    martlet_store::cells_conformance!(cluster);
    martlet_store::leases_conformance!(cluster);
    martlet_store::logs_conformance!(cluster);
    martlet_store::queues_conformance!(cluster);
    martlet_store::batches_conformance!(cluster);
}
