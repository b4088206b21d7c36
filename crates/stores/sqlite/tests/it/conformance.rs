use crate::place;
use martlet_base::ManualClock;
use martlet_sqlite::SqliteStore;
use martlet_store::conformance::Subject;
use std::sync::Arc;

async fn sqlite() -> Subject {
    let (folder, path) = place();
    let manual = ManualClock::new();
    let store = SqliteStore::builder(path).clock(manual.clock()).open().await.unwrap();
    Subject::new(Arc::new(store), move |by| manual.advance(by)).keeping(folder)
}

martlet_store::cells_conformance!(sqlite);
martlet_store::leases_conformance!(sqlite);
