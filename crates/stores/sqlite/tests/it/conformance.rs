use crate::place;
use martlet_base::ManualClock;
use martlet_sqlite::{Durability, SqliteStore};
use martlet_store::conformance::Subject;
use std::sync::Arc;

async fn sqlite() -> Subject {
    let (folder, path) = place();
    let manual = ManualClock::new();
    let store = SqliteStore::builder(path).clock(manual.clock()).open().await.unwrap();
    Subject::simulated(Arc::new(store), manual).keeping(folder)
}

/// A hundred thousand commits need not wait for the disk.
async fn quick() -> Subject {
    let (folder, path) = place();
    let manual = ManualClock::new();
    let builder = SqliteStore::builder(path).clock(manual.clock()).durability(Durability::Normal);
    Subject::simulated(Arc::new(builder.open().await.unwrap()), manual).keeping(folder)
}

martlet_store::cells_conformance!(sqlite);
martlet_store::leases_conformance!(sqlite);
martlet_store::logs_conformance!(sqlite);
martlet_store::queues_conformance!(sqlite);
martlet_store::batches_conformance!(sqlite);
martlet_store::model_conformance!(quick);
