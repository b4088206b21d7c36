use martlet_base::ManualClock;
use martlet_redis::RedisStore;
use martlet_store::conformance::Subject;
use std::sync::Arc;

async fn redis() -> Option<Subject> {
    let url = crate::url()?;
    let manual = ManualClock::new();
    let builder = RedisStore::builder(&url).prefix(crate::prefix("conformance")).clock(manual.clock());
    Some(Subject::simulated(Arc::new(builder.open().await.unwrap()), manual))
}

martlet_store::cells_conformance!(redis);
martlet_store::leases_conformance!(redis);
martlet_store::logs_conformance!(redis);
martlet_store::queues_conformance!(redis);
martlet_store::batches_conformance!(redis);
martlet_store::model_conformance!(redis);
